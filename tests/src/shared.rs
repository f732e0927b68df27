//! A value that several tests of a program share.

use std::sync::LazyLock;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// Something that tests share; it ends with the process. So does the runtime on which they run: a
/// client's connections end with the one on which they began, and a test's own ends with the test.
pub struct Shared<T> {
    runtime: LazyLock<Runtime>,
    value: OnceCell<T>,
}

impl<T: 'static> Shared<T> {
    #[expect(clippy::new_without_default, reason = "it is for statics")]
    pub const fn new() -> Self {
        Self {
            runtime: LazyLock::new(|| Runtime::new().expect("a runtime")),
            value: OnceCell::const_new(),
        }
    }

    /// Runs a test; the first one starts what is shared.
    pub fn run(
        &'static self,
        start: impl AsyncFnOnce() -> anyhow::Result<T>,
        test: impl AsyncFnOnce(&'static T) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let test = async { test(self.value.get_or_try_init(|| start()).await?).await };
        self.runtime.block_on(test)
    }
}
