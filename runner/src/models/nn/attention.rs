//! Multi-head attention (Vaswani et al. 2017). Its projections differ by family and are not here.

use tch::{TchError, Tensor};

/// `[batch, length, heads * size]` to `[batch, heads, length, size]`, without a copy.
pub fn split_heads(xs: &Tensor, heads: i64) -> Result<Tensor, TchError> {
    let (batch, length, width) = xs.size3()?;
    xs.f_reshape([batch, length, heads, width / heads])?
        .f_transpose(1, 2)
}

/// `[batch, heads, length, size]` back to `[batch, length, heads * size]`.
pub fn merge_heads(xs: &Tensor) -> Result<Tensor, TchError> {
    xs.f_transpose(1, 2)?.f_flatten(2, 3)
}

/// `softmax(query key^T / sqrt(size)) value`, each `[batch, heads, length, size]`. If `causal`, a position
/// attends only to itself and to earlier positions; queries and keys must have the same length.
pub fn attend(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    causal: bool,
) -> Result<Tensor, TchError> {
    Tensor::f_scaled_dot_product_attention::<Tensor>(
        query, key, value, None, 0.0, causal, None, false,
    )
}
