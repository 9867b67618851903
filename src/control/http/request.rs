//! What a client of the metrics endpoint asks, and what it is told: HTTP/1.1 (RFC 9112), one
//! request per connection. Pure.

/// Longest request line, bytes, with its end.
const MAX_LINE: usize = 1024;

/// Longest head of a request, bytes.
pub const MAX_HEAD: usize = 8 * 1024;

/// The one page.
const PATH: &str = "/metrics";

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// 200: the page.
    Page,
    /// 400.
    Nonsense,
    /// 404.
    NotFound,
    /// 405.
    WrongMethod,
    /// 414: the request line is too long.
    LineTooLong,
    /// 431: the head is too long.
    HeadTooLong,
}

/// Looks at what has come so far; None while more of it is needed.
pub fn read(so_far: &[u8]) -> Option<Reply> {
    let line_end = so_far.iter().position(|byte| *byte == b'\n');
    let Some(line_end) = line_end.filter(|end| *end < MAX_LINE) else {
        return (so_far.len() >= MAX_LINE).then_some(Reply::LineTooLong);
    };
    let reply = judge(&so_far[..line_end]);
    if reply == Reply::Nonsense || is_whole(&so_far[line_end..]) {
        return Some(reply);
    }
    (so_far.len() >= MAX_HEAD).then_some(Reply::HeadTooLong)
}

/// Whether there is an empty line, with or without carriage returns, behind a line's end.
fn is_whole(rest: &[u8]) -> bool {
    let double = |end: &[u8]| rest.windows(end.len()).any(|bytes| bytes == end);
    double(b"\n\n") || double(b"\n\r\n")
}

fn judge(line: &[u8]) -> Reply {
    let Ok(line) = str::from_utf8(line) else {
        return Reply::Nonsense;
    };
    let words: Vec<&str> = line.trim_end_matches('\r').split(' ').collect();
    let [method, target, version] = words[..] else {
        return Reply::Nonsense;
    };
    // A query says nothing here.
    let path = target.split('?').next();
    match method {
        _ if !version.starts_with("HTTP/1.") => Reply::Nonsense,
        _ if path != Some(PATH) => Reply::NotFound,
        "GET" => Reply::Page,
        _ => Reply::WrongMethod,
    }
}

/// The response; `page` is made only when it was asked for.
pub fn response(reply: Reply, page: impl FnOnce() -> String) -> Vec<u8> {
    let page_type = "text/plain; version=0.0.4; charset=utf-8";
    let plain = "text/plain; charset=utf-8";
    let say = |words: &str| (plain, format!("{words}\n"));
    let (status, (kind, body)) = match reply {
        Reply::Page => ("200 OK", (page_type, page())),
        Reply::Nonsense => ("400 Bad Request", say("this is no HTTP/1 request")),
        Reply::NotFound => ("404 Not Found", say("there is only /metrics here")),
        Reply::WrongMethod => ("405 Method Not Allowed", say("GET it")),
        Reply::LineTooLong => ("414 URI Too Long", say("the request line is too long")),
        Reply::HeadTooLong => (
            "431 Request Header Fields Too Large",
            say("the head is too long"),
        ),
    };
    let allow = match reply {
        Reply::WrongMethod => "Allow: GET\r\n",
        _ => "",
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_judged_when_they_are_whole() {
        for (text, reply) in [
            (
                "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
                Some(Reply::Page),
            ),
            ("GET /metrics HTTP/1.0\n\n", Some(Reply::Page)),
            ("GET /metrics?a=b HTTP/1.1\r\n\r\n", Some(Reply::Page)),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n", None),
            ("GET /met", None),
            ("", None),
            ("GET /metricsx HTTP/1.1\r\n\r\n", Some(Reply::NotFound)),
            ("GET / HTTP/1.1\r\n\r\n", Some(Reply::NotFound)),
            ("POST /metrics HTTP/1.1\r\n\r\n", Some(Reply::WrongMethod)),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Some(Reply::WrongMethod)),
            ("GET /metrics\r\n\r\n", Some(Reply::Nonsense)),
            ("GET /metrics HTTP/2.0\r\n", Some(Reply::Nonsense)),
            ("\r\n", Some(Reply::Nonsense)),
        ] {
            assert_eq!(read(text.as_bytes()), reply, "{text:?}");
        }
        assert_eq!(read(b"\xff\n"), Some(Reply::Nonsense));
    }

    #[test]
    fn what_is_too_long_is_refused_at_its_bound() {
        let line = |length: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(length - 16));
        assert_eq!(read(line(MAX_LINE).as_bytes()), Some(Reply::NotFound));
        assert_eq!(
            read(line(MAX_LINE + 1).as_bytes()),
            Some(Reply::LineTooLong)
        );
        assert_eq!(read(&[b'x'; MAX_LINE - 1]), None);
        assert_eq!(read(&[b'x'; MAX_LINE]), Some(Reply::LineTooLong));
        let head = |length: usize| {
            let mut head = b"GET /metrics HTTP/1.1\r\n".to_vec();
            head.resize(length, b'x');
            head
        };
        assert_eq!(read(&head(MAX_HEAD - 1)), None);
        assert_eq!(read(&head(MAX_HEAD)), Some(Reply::HeadTooLong));
    }

    #[test]
    fn responses_have_lengths_and_types() {
        let page = response(Reply::Page, || "a 1\n".to_owned());
        assert_eq!(
            String::from_utf8(page).unwrap(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: 4\r\nConnection: close\r\n\r\na 1\n"
        );
        let no_page = || panic!("nobody asked for it");
        let wrong = String::from_utf8(response(Reply::WrongMethod, no_page)).unwrap();
        assert!(wrong.starts_with("HTTP/1.1 405 ") && wrong.contains("\r\nAllow: GET\r\n"));
    }
}
