//! HTTP Archive 1.2: as browsers and proxies save what they saw.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tap_flow::{Exchange, Headers};

use super::{InputError, path_of};

#[derive(Deserialize)]
struct Entry {
    request: HarRequest,
    response: Option<HarResponse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HarRequest {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Field>,
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostData {
    #[serde(default)]
    mime_type: String,
    text: Option<String>,
    #[serde(default)]
    params: Vec<Param>,
}

#[derive(Deserialize)]
struct Param {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HarResponse {
    status: u16,
    #[serde(default)]
    status_text: String,
    #[serde(default)]
    headers: Vec<Field>,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    mime_type: String,
    text: Option<String>,
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    value: String,
}

pub(super) fn exchanges(entries: &[serde_json::Value]) -> Result<Vec<(String, Exchange)>, InputError> {
    entries.iter().enumerate().map(|(index, entry)| exchange(index + 1, entry)).collect()
}

fn exchange(number: usize, entry: &serde_json::Value) -> Result<(String, Exchange), InputError> {
    let problem = |problem| InputError::Har { entry: number, problem };
    let Entry { request, response } =
        Entry::deserialize(entry).map_err(|_| problem("request, response or their fields are missing"))?;
    let target = target_of(&request.url).ok_or_else(|| problem("the request's URL is not absolute"))?;
    let name = format!("{number}: {} {}", request.method, path_of(target));
    let (mime_type, content) = match request.post_data {
        Some(PostData { mime_type, text: Some(text), .. }) => (mime_type, text.into_bytes()),
        // The parameters are as in the body, decoded.
        Some(PostData { mime_type, text: None, params }) => (mime_type, form(&params)),
        None => (String::new(), Vec::new()),
    };
    let sent = tap_flow::Request {
        headers: with_type(request.headers, &mime_type),
        body: super::body(content.into()),
        ..super::request(&request.method, target)
    };
    let received = match response {
        // 0 where no response came.
        Some(response) if response.status > 0 => {
            let (mime_type, content) = match response.content {
                Some(Content { mime_type, text: Some(text), encoding: Some(encoding) })
                    if encoding == "base64" =>
                {
                    let decoded =
                        STANDARD.decode(text).map_err(|_| problem("the response's content is not base64"))?;
                    (mime_type, decoded)
                }
                Some(Content { mime_type, text, .. }) => (mime_type, text.unwrap_or_default().into_bytes()),
                None => (String::new(), Vec::new()),
            };
            Some(tap_flow::Response {
                headers: with_type(response.headers, &mime_type),
                body: super::body(content.into()),
                ..super::response(response.status, &response.status_text)
            })
        }
        _ => None,
    };
    Ok((name, super::exchange(Some(sent), received)))
}

/// The fields, with the type that the archive gives where they have none. Contents are decoded in a HAR.
fn with_type(fields: Vec<Field>, mime_type: &str) -> Headers {
    let mut headers = super::headers(fields.into_iter().map(|field| (field.name, field.value)));
    if !mime_type.is_empty() && headers.get("content-type").is_none() {
        headers.push("Content-Type", mime_type);
    }
    headers
}

fn form(params: &[Param]) -> Vec<u8> {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |text, byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                text + &char::from(byte).to_string()
            }
            byte => text + &format!("%{byte:02X}"),
        })
    };
    let pairs: Vec<String> =
        params.iter().map(|Param { name, value }| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&").into_bytes()
}

/// What of a URL a request's target has: the path and what follows it.
fn target_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    Some(rest.find(['/', '?', '#']).map_or("/", |path| &rest[path..]))
}
