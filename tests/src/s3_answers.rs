//! Answers of stores that are not like MinIO: lists that others write in their own way or get wrong, objects that
//! break off, and answers of no store at all. Each is made from a real answer where there is one.

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{Method, StatusCode, request};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use reqwest::Url;
use std::collections::VecDeque;
use std::convert::Infallible;

const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// A login page, as an identity provider before a web server answers any request with it.
pub const LOGIN: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n";

/// How an answer differs from MinIO's. A way of lists leaves other answers as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Keys with `/` as `%2F` and a space as `%20`, as Ceph RGW and nanio write them.
    Encode,
    /// Keys as they are, as a store writes them that does not know `encoding-type`.
    Plain,
    /// A page's keys in another order.
    Reverse,
    /// A page that follows another lacks its first object, as nanio's may.
    Lose,
    /// A page that goes on has its last object twice.
    Repeat,
    /// The list does not end.
    Truncate,
    /// The second half of the body is missing. Its length is not announced.
    Cut,
    /// As [`Way::Cut`], of XML whose length is announced as it is.
    CutXml,
}

impl Way {
    /// The answer as such a store gives it to this request.
    pub(crate) async fn change(self, request: &request::Parts, answer: Response) -> Response {
        let query = request.uri.query().unwrap_or_default();
        let is_list = query.contains("list-type=2");
        let is_changed = is_list || (self == Self::Cut && request.method == Method::GET);
        if !is_changed {
            return answer;
        }
        let (mut parts, body) = answer.into_parts();
        let body = to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
        parts.headers.remove(CONTENT_LENGTH);
        let text = String::from_utf8_lossy(&body);
        let text = match self {
            Self::Encode => keys(&text, |key| key.replace('+', "%20").replace('/', "%2F")),
            Self::Plain => keys(&text, |key| escaped(&decoded(key)))
                .replace("<EncodingType>url</EncodingType>", ""),
            Self::Reverse => objects(&text, |objects| objects.make_contiguous().reverse()),
            Self::Lose if query.contains("continuation-token") => objects(&text, |objects| {
                objects.pop_front();
            }),
            Self::Repeat if text.contains("<IsTruncated>true") => objects(&text, |objects| {
                objects.extend(objects.back().cloned());
            }),
            Self::Truncate => text.replace(
                "<IsTruncated>false</IsTruncated>",
                "<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>",
            ),
            Self::CutXml => text[..text.len() / 2].to_owned(),
            Self::Lose | Self::Repeat => text.into_owned(),
            Self::Cut => {
                let half = body.slice(..body.len() / 2);
                let body = futures::stream::iter([Ok::<Bytes, Infallible>(half)]);
                return Response::from_parts(parts, Body::from_stream(body));
            }
        };
        Response::from_parts(parts, Body::from(text))
    }
}

/// An answer that no object was stored for, or that no store has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Says that it has stored what it has not.
    Swallows,
    /// A web page, with success.
    Page,
    /// A redirection to one.
    Redirects,
}

impl Stranger {
    pub(crate) fn answer(self) -> Response {
        match self {
            Self::Swallows => [(ETAG, "\"d41d8cd98f00b204e9800998ecf8427e\"")].into_response(),
            Self::Page => ([(CONTENT_TYPE, "text/html")], LOGIN).into_response(),
            Self::Redirects => {
                let login = "https://login.test/oauth?state=secret";
                (StatusCode::FOUND, [(LOCATION, login)]).into_response()
            }
        }
    }
}

/// Changes the keys and the folders of a list.
fn keys(list: &str, change: impl Fn(&str) -> String) -> String {
    let mut changed = list.to_owned();
    for (begin, end) in [("<Key>", "</Key>"), ("<Prefix>", "</Prefix>")] {
        let mut parts = changed.split(begin);
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (key, rest) = part.split_once(end).expect("an element ends");
            whole += &[begin, &change(key), end, rest].concat();
        }
        changed = whole;
    }
    changed
}

/// Changes the objects of a list, each with its element.
fn objects(list: &str, change: impl FnOnce(&mut VecDeque<String>)) -> String {
    const END: &str = "</Contents>";
    let Some((begin, rest)) = list.split_once("<Contents>") else {
        return list.to_owned();
    };
    let (all, rest) = rest.rsplit_once(END).expect("an element ends");
    let mut all = all
        .split("</Contents><Contents>")
        .map(str::to_owned)
        .collect();
    change(&mut all);
    let all = Vec::from(all).join("</Contents><Contents>");
    match all.as_str() {
        "" => format!("{begin}{rest}"),
        all => format!("{begin}<Contents>{all}{END}{rest}"),
    }
}

fn decoded(key: &str) -> String {
    let url = Url::parse(&format!("http://x/?k={key}")).expect("a query");
    let (_, key) = url.query_pairs().next().expect("one pair");
    key.into_owned()
}

fn escaped(key: &str) -> String {
    key.replace('&', "&amp;").replace('<', "&lt;")
}
