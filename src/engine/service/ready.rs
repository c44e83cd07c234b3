//! One try at whether a service is ready.
//!
//! Invariant: a try takes at most about a second, or ends with the bells of the service; what it finds is
//! about the service and not about us: a connection that the kernel made from a port to itself, which can
//! happen when nobody listens there, does not count. HTTP is a plain GET over a socket; refused: a client
//! library for one request that only asks for a status.
#![allow(clippy::disallowed_methods, reason = "shell: connects to what was started")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long one connection or answer is waited for.
const PATIENCE: Duration = Duration::from_millis(1_000);

/// Connects to `host:port`.
///
/// # Errors
/// Why it does not answer, for a person.
pub(super) fn connect(address: &str) -> Result<TcpStream, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("`{address}`: {why}");
    // `localhost` is this machine whatever a resolver says (RFC 6761, section 6.3), and none is asked.
    let found = match address.strip_prefix("localhost:").map(str::parse) {
        Some(Ok(port)) => vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()],
        _ => address.to_socket_addrs().map_err(|error| wrong(&error))?.collect(),
    };
    let mut last = wrong(&"no such host");
    for socket in found {
        match TcpStream::connect_timeout(&socket, PATIENCE) {
            Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {
                last = wrong(&"nobody listens")
            }
            Ok(stream) => return Ok(stream),
            Err(error) => last = wrong(&error),
        }
    }
    Err(last)
}

/// Asks a URL for a 2xx.
///
/// # Errors
/// What it answered instead, for a person.
pub(super) fn get(url: &str) -> Result<(), String> {
    let Some(Parts { host, address, path }) = parts(url) else {
        return Err(format!("`{url}` is not a URL that starts with `http://`"));
    };
    let wrong = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("`{url}` does not answer within a second")
        }
        _ => format!("`{url}`: {error}"),
    };
    let mut stream = connect(&address)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(wrong)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: iact\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(wrong)?;
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    // Of the whole line: who sends a byte now and then is waited for no longer.
    let end = Instant::now() + PATIENCE;
    while answer.len() < 4096 && !answer.contains(&b'\n') {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(wrong(io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left)).map_err(wrong)?;
        match stream.read(&mut piece).map_err(wrong)? {
            0 => break,
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    match status(&answer) {
        Some(200..=299) => Ok(()),
        Some(code) => Err(format!("`{url}` answers {code}")),
        None => Err(format!("`{url}` does not answer in HTTP")),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Parts<'u> {
    host: &'u str,
    address: String,
    path: String,
}

fn parts(url: &str) -> Option<Parts<'_>> {
    let rest = url.strip_prefix("http://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at(end);
    let path = rest.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    (!host.is_empty() && !host.contains('@')).then_some(Parts { host, address, path })
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next()?.strip_prefix("HTTP/")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, expected) in [
            ("http://h", Some(("h", "h:80", "/"))),
            ("http://h:1/a/b?c#d", Some(("h:1", "h:1", "/a/b?c"))),
            ("http://[::1]:8080?x", Some(("[::1]:8080", "[::1]:8080", "/?x"))),
            ("http://[::1]/", Some(("[::1]", "[::1]:80", "/"))),
            ("https://h", None),
            ("http:///x", None),
            ("http://u@h/", None),
        ] {
            let expected = expected.map(|(host, address, path): (&str, &str, &str)| Parts {
                host,
                address: address.into(),
                path: path.into(),
            });
            assert_eq!(parts(url), expected, "{url}");
        }
    }

    #[test]
    fn a_status_is_read_from_the_first_line() {
        for (answer, expected) in [
            (&b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n"[..], Some(200)),
            (b"HTTP/1.1 204\r\n", Some(204)),
            (b"SSH-2.0-OpenSSH\r\n", None),
            (b"", None),
            (b"HTTP/1.1 \xff\n", None),
        ] {
            assert_eq!(status(answer), expected);
        }
    }
}
