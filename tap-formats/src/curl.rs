//! One command a line that sends the request again, for bash, zsh and other shells that know `$'…'`.
//!
//! What curl would add by itself is taken out, so that the request has the recorded fields and no others. A body is an
//! argument where it is text, and comes through a pipe as Base64 where it is not, or is long.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tap_proto::v1::{self, completeness::State};

use crate::{
    fit::{Fit, Unfit},
    http1, stored, terminal,
};

/// Linux takes arguments of 128 KiB (MAX_ARG_STRLEN); quoting is off by then.
const MAX_ARGUMENT: usize = 120_000;
/// What curl sends unless it is told otherwise.
const OWN_FIELDS: [&str; 4] = ["User-Agent", "Accept", "Content-Type", "Expect"];

/// Writes commands.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes the request's command.
    pub fn write(&mut self, exchange: &v1::Exchange) -> io::Result<Fit> {
        match command(exchange) {
            Ok(command) => {
                self.out.write_all(command.as_bytes())?;
                self.out.write_all(b"\n")?;
                Ok(Fit::Whole)
            }
            Err(unfit) => Ok(Fit::Not(unfit)),
        }
    }

    /// Everything is written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The command, without a line feed.
fn command(exchange: &v1::Exchange) -> Result<String, Unfit> {
    let request = exchange.request.as_ref().ok_or(Unfit::NoRequest)?;
    let body = body(request)?;
    let method = request.method.as_str();
    if !http1::is_token(method.as_bytes()) {
        return Err(Unfit::InvalidHead);
    }
    if method == "CONNECT" || method == "HEAD" && body.is_some() {
        return Err(Unfit::Unsendable);
    }
    let mut command = String::from("curl -sS -g --path-as-is");
    match (method, body.is_some()) {
        ("HEAD", _) => command.push_str(" --head"),
        ("GET", false) | ("POST", true) => {}
        (method, _) => {
            let _ = write!(command, " -X {}", quoted(method.as_bytes()));
        }
    }
    if request.version == "HTTP/1.0" {
        command.push_str(" --http1.0");
    }
    destination(&mut command, exchange, request)?;
    fields(&mut command, request, body.is_some())?;
    let Some(body) = body else { return Ok(command) };
    let argument = std::str::from_utf8(body).ok().filter(|text| !text.contains('\0')).map(|_| quoted(body));
    match argument.filter(|argument| argument.len() <= MAX_ARGUMENT) {
        // As it is: `--data-binary` would take what begins with @ for the name of a file.
        Some(argument) => Ok(command + " --data-raw " + &argument),
        // printf is the shell's own, and takes arguments of any length.
        None => Ok(format!("printf %s {} | base64 -d | {command} --data-binary @-", STANDARD.encode(body))),
    }
}

/// The whole body; `None` where the request has none.
fn body(request: &v1::Request) -> Result<Option<&[u8]>, Unfit> {
    let content = stored::content(request.body.as_ref());
    let state = request.completeness.as_ref().map_or(State::Unspecified, v1::Completeness::state);
    let absent = request.body.as_ref().is_some_and(|body| body.content.is_none() && body.size > 0);
    if absent || !matches!(state, State::Complete | State::Unspecified) {
        return Err(Unfit::RequestIncomplete);
    }
    let says_length = request.headers.iter().any(|header| header.name.eq_ignore_ascii_case("content-length"));
    Ok((!content.is_empty() || says_length && request.method != "HEAD").then_some(content))
}

/// The URL, and the target where a URL can't say it.
fn destination(command: &mut String, exchange: &v1::Exchange, request: &v1::Request) -> Result<(), Unfit> {
    let scheme = if request.scheme == "https" { "https" } else { "http" };
    let authority = if is_authority(&request.host) {
        request.host.clone()
    } else {
        let end = exchange.destination.as_ref().ok_or(Unfit::NoHost)?;
        let ip: std::net::IpAddr = end.ip.parse().map_err(|_| Unfit::NoHost)?;
        if ip.is_unspecified() {
            return Err(Unfit::NoHost);
        }
        let port = u16::try_from(end.port).map_err(|_| Unfit::NoHost)?;
        std::net::SocketAddr::new(ip, port).to_string()
    };
    let target = http1::target(request);
    if target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) || target.is_empty() {
        return Err(Unfit::InvalidHead);
    }
    // A URL's fragment is not sent, and what is not ASCII would be encoded.
    let plain = target.starts_with('/') && target.is_ascii() && !target.contains('#');
    let (path, given) = if plain { (target.as_str(), None) } else { ("/", Some(&target)) };
    let _ = write!(command, " {}", argument(format!("{scheme}://{authority}{path}").as_bytes())?);
    if let Some(target) = given {
        let _ = write!(command, " --request-target {}", argument(target.as_bytes())?);
    }
    let host = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
    // HTTP/2 has the host without the field.
    if host.is_none() && !request.host.is_empty() && request.host != authority {
        let _ = write!(command, " -H {}", argument(format!("Host: {}", request.host).as_bytes())?);
    }
    Ok(())
}

fn fields(command: &mut String, request: &v1::Request, has_body: bool) -> Result<(), Unfit> {
    let decoded = request.body.as_ref().is_some_and(|body| !body.decoded_from.is_empty());
    for header in &request.headers {
        let value = stored::value(header).trim_ascii();
        if !http1::is_token(header.name.as_bytes()) || !http1::is_value(value) {
            return Err(Unfit::InvalidHead);
        }
        if http1::is_framing(&header.name) || decoded && header.name.eq_ignore_ascii_case("content-encoding")
        {
            continue;
        }
        let field = if value.is_empty() {
            // How curl is told to send a field without a value.
            [header.name.as_bytes(), b";"].concat()
        } else {
            [header.name.as_bytes(), b": ", value].concat()
        };
        let _ = write!(command, " -H {}", argument(&field)?);
    }
    for own in OWN_FIELDS {
        let sent = match own {
            "Content-Type" | "Expect" => has_body,
            _ => true,
        };
        if sent && !request.headers.iter().any(|header| header.name.eq_ignore_ascii_case(own)) {
            let _ = write!(command, " -H '{own}:'");
        }
    }
    Ok(())
}

fn is_authority(host: &str) -> bool {
    !host.is_empty()
        && !host.starts_with('-')
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

fn argument(bytes: &[u8]) -> Result<String, Unfit> {
    Some(quoted(bytes)).filter(|quoted| quoted.len() <= MAX_ARGUMENT).ok_or(Unfit::TooLong)
}

/// As one word of a shell, on one line, without what could harm a terminal.
fn quoted(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).ok();
    if let Some(text) = text.filter(|text| !text.chars().any(terminal::is_unsafe)) {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    let mut quoted = String::from("$'");
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\'' | '\\' => quoted.extend(['\\', character]),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                character if terminal::is_unsafe(character) => {
                    let mut buffer = [0; 4];
                    character.encode_utf8(&mut buffer).bytes().for_each(|byte| octal(&mut quoted, byte));
                }
                character => quoted.push(character),
            }
        }
        chunk.invalid().iter().for_each(|byte| octal(&mut quoted, *byte));
    }
    quoted.push('\'');
    quoted
}

/// Three digits, so that a digit which follows is not taken for one of them.
fn octal(quoted: &mut String, byte: u8) {
    let _ = write!(quoted, "\\{byte:03o}");
}
