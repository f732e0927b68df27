//! Answers that are decoded while they arrive, so that what a type skips takes no memory. Users make one job as
//! large as 1.5 MiB, and a page of them hundreds of megabytes.

use futures::io::{AsyncRead, AsyncReadExt as _};
use http::Request;
use kube::Client;
use kube::api::ListParams;
use kube::core::ListMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{BufReader, Error, Read};
use std::pin::Pin;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// Answers up to this length are read whole.
const SMALL_BYTES: usize = 32 * 1024;

/// A page of a list. Unlike [`kube::core::ObjectList`], it has no defaults for missing fields.
#[derive(Debug, Deserialize)]
pub struct Page<K> {
    /// The list's metadata: its resourceVersion, and the token of the next page.
    pub metadata: ListMeta,
    /// The objects, as far as `K` holds them.
    pub items: Vec<K>,
}

impl<K> Page<K> {
    /// The token of the next page; `None` if this is the last one.
    pub fn next(&self) -> Option<String> {
        let token = self.metadata.continue_.clone();
        token.filter(|token| !token.is_empty())
    }
}

/// Reads a page of the objects at `url`, as [`kube::Api::resource_url`] gives it.
pub async fn read_page<K: DeserializeOwned + Send + 'static>(
    client: &Client,
    url: &str,
    params: &ListParams,
) -> kube::Result<Page<K>> {
    let page = kube::core::Request::new(url).list(params);
    request(client, page.map_err(kube::Error::BuildRequest)?).await
}

/// Sends a request and decodes its answer; as [`Client::request`], but for large answers.
pub async fn request<T: DeserializeOwned + Send + 'static>(
    client: &Client,
    request: Request<Vec<u8>>,
) -> kube::Result<T> {
    let mut body: Body = Box::pin(client.request_stream(request).await?);
    let mut head = Vec::new();
    let first = (&mut body).take(SMALL_BYTES as u64);
    let read = Box::pin(first).read_to_end(&mut head).await;
    read.map_err(|error| kube::Error::Service(error.into()))?;
    if head.len() < SMALL_BYTES {
        return serde_json::from_slice(&head).map_err(kube::Error::SerdeError);
    }
    let cancelled = CancellationToken::new();
    let rest = Rest {
        body,
        cancelled: cancelled.clone(),
    };
    let _cancelling = cancelled.drop_guard();
    let decode = move || {
        let reader = BufReader::with_capacity(SMALL_BYTES, rest);
        serde_json::from_reader(Read::chain(head.as_slice(), reader))
    };
    match spawn_blocking(decode).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_io() => Err(kube::Error::Service(error.into())),
        Ok(Err(error)) => Err(kube::Error::SerdeError(error)),
        Err(error) => Err(kube::Error::Service(error.into())),
    }
}

type Body = Pin<Box<dyn AsyncRead + Send>>;

/// The rest of a body, for a thread that may block; it ends with an error once nobody waits for it.
struct Rest {
    body: Body,
    cancelled: CancellationToken,
}

impl Read for Rest {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let reading = self.cancelled.run_until_cancelled(self.body.read(into));
        let read = Handle::current().block_on(reading);
        read.unwrap_or_else(|| Err(Error::other("nobody waits for the answer")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body as Answer;
    use futures::{StreamExt as _, stream};
    use http::Response;
    use serde_json::{Value, json};
    use std::convert::Infallible;
    use std::time::Duration;
    use tokio::time::timeout;

    /// Answers with these pieces, and never ends if `open`.
    fn client(text: &str, open: bool) -> Client {
        let pieces: Vec<Vec<u8>> = text.as_bytes().chunks(1000).map(<[u8]>::to_vec).collect();
        let answer = tower::service_fn(move |_: Request<kube::client::Body>| {
            let pieces = stream::iter(pieces.clone().into_iter().map(Ok::<_, Infallible>));
            let answer = if open {
                Answer::from_stream(pieces.chain(stream::pending()))
            } else {
                Answer::from_stream(pieces)
            };
            async move { Ok::<_, Infallible>(Response::new(answer)) }
        });
        Client::new(answer, "default")
    }

    async fn read(text: &str) -> kube::Result<Page<Value>> {
        read_page(&client(text, false), "/apis", &ListParams::default()).await
    }

    #[tokio::test]
    async fn a_page_is_read_whatever_its_length() {
        for count in [0_usize, 1, 50, 5000] {
            let items: Vec<Value> = (0..count).map(|n| json!({"n": n, "é": "\"]}"})).collect();
            let list =
                json!({"metadata": {"continue": "t", "resourceVersion": "7"}, "items": items});
            let page = read(&list.to_string()).await.unwrap();
            assert_eq!(page.items, items, "{count}");
            assert_eq!(page.next().as_deref(), Some("t"));
            assert_eq!(page.metadata.resource_version.as_deref(), Some("7"));
        }
    }

    #[tokio::test]
    async fn what_is_not_a_whole_page_is_an_error() {
        let items = vec![json!({"a": "b"}); 5000];
        let whole = json!({"items": items, "metadata": {}}).to_string();
        let without = json!({"items": items}).to_string();
        let trailing = format!("{whole}x");
        for text in ["", "{}", &whole[..whole.len() - 1], &without, &trailing] {
            assert!(read(text).await.is_err(), "{} bytes", text.len());
        }
    }

    /// Its thread ends too: the runtime waits for it.
    #[test]
    fn an_answer_that_nobody_waits_for_is_not_read_to_its_end() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let begun = format!("[{}", " ".repeat(SMALL_BYTES));
            let client = client(&begun, true);
            let reading = request::<Value>(&client, Request::new(Vec::new()));
            assert!(timeout(Duration::from_millis(50), reading).await.is_err());
        });
    }
}
