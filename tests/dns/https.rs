//! Upstreams by HTTPS (RFC 8484). The server is the h2 crate's.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use hickory_proto::op::Message;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::messages::query;
use crate::server::{Running, config};
use crate::tls_server::{Authority, Manner, TlsServer};
use crate::upstream::{good, read};

#[derive(Default)]
struct Seen {
    names: Mutex<Vec<String>>,
    connections: AtomicUsize,
    /// Most streams open at a time.
    streams: AtomicUsize,
    most: AtomicUsize,
    reset: AtomicUsize,
}

/// Runs until dropped.
struct HttpsServer {
    addr: SocketAddr,
    seen: Arc<Seen>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl HttpsServer {
    fn start(authority: &Authority, settings: fn(&mut h2::server::Builder)) -> Self {
        let config = authority.issue(&["dns.example"]).config(&[b"h2"]);
        let (tell, told) = std::sync::mpsc::channel();
        let seen = Arc::new(Seen::default());
        let (end, ended) = oneshot::channel();
        let all = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let acceptor = TlsAcceptor::from(config);
                let accept = async {
                    loop {
                        let (tcp, _) = listener.accept().await.unwrap();
                        all.connections.fetch_add(1, Ordering::Relaxed);
                        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&all));
                        tokio::task::spawn_local(async move {
                            if let Ok(stream) = acceptor.accept(tcp).await {
                                converse(stream, &seen, settings).await;
                            }
                        });
                    }
                };
                let ended = async { drop(ended.await) };
                futures_lite::future::or(accept, ended).await;
            });
        });
        Self {
            addr: told.recv().unwrap(),
            seen,
            end: Some(end),
            thread: Some(thread),
        }
    }

    fn count(&self, which: fn(&Seen) -> &AtomicUsize) -> usize {
        which(&self.seen).load(Ordering::Relaxed)
    }

    /// Until the client has ended a stream.
    fn wait_for_reset(&self) {
        let end = Instant::now() + Duration::from_secs(2);
        while self.count(|seen| &seen.reset) == 0 {
            assert!(Instant::now() < end, "no stream was reset");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().unwrap().join();
        assert!(
            ended.is_ok() || thread::panicking(),
            "the upstream panicked"
        );
    }
}

type Tls = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

/// Answers until `goaway` is asked for: then the connection ends after its streams, and what
/// comes later is not seen.
async fn converse(stream: Tls, seen: &Arc<Seen>, settings: fn(&mut h2::server::Builder)) {
    let mut builder = h2::server::Builder::new();
    settings(&mut builder);
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let open = seen.streams.fetch_add(1, Ordering::Relaxed) + 1;
        seen.most.fetch_max(open, Ordering::Relaxed);
        if request.uri().path() == "/goaway" {
            connection.graceful_shutdown();
        }
        let seen = Arc::clone(seen);
        tokio::task::spawn_local(async move {
            let answered = answer(request, respond, &seen).await;
            if answered.is_err() {
                seen.reset.fetch_add(1, Ordering::Relaxed);
            }
            seen.streams.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: &Seen,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    assert_eq!(head.method, http::Method::POST);
    assert_eq!(head.uri.scheme_str(), Some("https"));
    assert!(
        head.uri
            .authority()
            .unwrap()
            .as_str()
            .starts_with("dns.example:")
    );
    assert!(
        ["/dns-query", "/goaway", "/q?a=b"].contains(&head.uri.path_and_query().unwrap().as_str())
    );
    for name in ["content-type", "accept"] {
        assert_eq!(head.headers[name], "application/dns-message");
    }
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend(part);
    }
    assert_eq!(head.headers["content-length"], bytes.len().to_string());
    assert!(bytes.len().is_multiple_of(128), "padded (RFC 8467)");
    assert_eq!(bytes[..2], [0, 0], "the ID is 0 (RFC 8484, section 4.1)");
    let query = Message::from_vec(&bytes).unwrap();
    let (name, faults) = read(&query);
    seen.names.lock().unwrap().push(name);
    let has = |fault: &str| faults.iter().any(|other| other == fault);
    if has("reset") {
        respond.send_reset(h2::Reason::INTERNAL_ERROR);
        return Ok(());
    }
    if has("drop-tcp") {
        let reset = std::future::poll_fn(|context| respond.poll_reset(context));
        tokio::time::timeout(Duration::from_secs(10), reset)
            .await
            .is_ok_and(|reset| reset.is_ok())
            .then(|| seen.reset.fetch_add(1, Ordering::Relaxed));
        return Ok(());
    }
    if has("slow") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = if has("status403") { 403 } else { 200 };
    let media = match () {
        () if has("html") => "text/html",
        () if has("parameter") => "application/dns-message; charset=utf-8",
        () => "application/dns-message",
    };
    let mut body = good(&query, &faults);
    if has("endless") {
        body = vec![0; 70_000];
    }
    if has("empty") || has("onebyte") {
        body.truncate(has("onebyte").into());
    }
    // A long line of other headers, as real servers have.
    let response = Response::builder()
        .status(status)
        .header("content-type", media);
    let response = response
        .header("x-long", "long ".repeat(60))
        .header("server", "h2");
    let mut send = respond.send_response(response.body(()).unwrap(), false)?;
    send.send_data(Bytes::from(body), !has("endless"))?;
    if has("endless") {
        std::future::poll_fn(|context| send.poll_reset(context)).await?;
        seen.reset.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn start(upstream: &HttpsServer, authority: &Authority, path: &str) -> Running {
    let url = format!("https://{}{path}", upstream.addr);
    Running::start(&(config(&url, &[]) + &authority.lines()))
}

fn standard(_: &mut h2::server::Builder) {}

fn ok(id: u16, name: &str) -> String {
    format!("id={id} noerror {name} A A:300:192.0.2.1")
}

#[test]
fn queries_are_posts_on_one_connection() {
    let authority = Authority::new();
    for path in ["/dns-query", "", "/q?a=b"] {
        let upstream = HttpsServer::start(&authority, standard);
        let server = start(&upstream, &authority, path);
        let mut client = server.tcp();
        assert_eq!(client.ask("www.example"), ok(7, "www.example"));
        assert_eq!(client.ask("parameter.example"), ok(7, "parameter.example"));
        let big = client.ask("big.example");
        assert_eq!(big.matches(" A:300:").count(), 100, "{big}");
        // A slow one does not hold up others.
        client.send(&query(1, "slow.example", "A"));
        client.send(&query(2, "fast.example", "A"));
        assert_eq!(client.receive(), ok(2, "fast.example"));
        assert_eq!(client.receive(), ok(1, "slow.example"));
        assert_eq!(upstream.count(|seen| &seen.connections), 1);
    }
}

#[test]
fn what_is_no_dns_is_servfail_at_once() {
    let authority = Authority::new();
    let upstream = HttpsServer::start(&authority, standard);
    let server = start(&upstream, &authority, "");
    let mut client = server.udp();
    for fault in ["status403", "html", "reset", "endless", "empty", "onebyte"] {
        let begin = Instant::now();
        let name = format!("{fault}.example");
        let answer = client.ask(&name);
        assert!(
            answer.starts_with(&format!("id=7 servfail {name} A")),
            "{answer}"
        );
        assert!(begin.elapsed() < Duration::from_millis(500), "{fault}");
    }
    // The connection is as good as before.
    assert_eq!(client.ask("www.example"), ok(7, "www.example"));
    assert_eq!(upstream.count(|seen| &seen.connections), 1);
    upstream.wait_for_reset();
}

#[test]
fn a_hundred_at_once_keep_to_the_limit_of_the_server() {
    let authority = Authority::new();
    let settings = |builder: &mut h2::server::Builder| {
        builder.max_concurrent_streams(10).initial_window_size(50);
    };
    let upstream = HttpsServer::start(&authority, settings);
    let server = start(&upstream, &authority, "");
    let mut client = server.udp();
    client.ask_at_once(100, |number| format!("slow--n{number}.example"));
    let connections = upstream.count(|seen| &seen.connections);
    assert!((2..=5).contains(&connections), "{connections} connections");
    assert!(server.stats().upstream_connections <= 4);
    assert!(upstream.count(|seen| &seen.most) <= 40);
}

#[test]
fn a_server_that_goes_away_loses_nothing() {
    let authority = Authority::new();
    let upstream = HttpsServer::start(&authority, standard);
    let server = start(&upstream, &authority, "/goaway");
    let mut client = server.udp();
    client.ask_at_once(50, |number| format!("n{number}.example"));
    for number in 0..5 {
        let name = format!("m{number}.example");
        assert_eq!(client.ask(&name), ok(7, &name));
    }
    assert!(upstream.count(|seen| &seen.connections) > 1);
    // One that says goodbye and stays for what it has: whatever comes next goes by another.
    client.send(&query(1, "drop-tcp.example", "A"));
    thread::sleep(Duration::from_millis(100));
    let begin = Instant::now();
    assert_eq!(client.ask("www.example"), ok(7, "www.example"));
    assert!(
        begin.elapsed() < Duration::from_millis(500),
        "not by the old"
    );
}

#[test]
fn a_query_given_up_ends_its_stream_or_its_connection_where_nothing_is_answered() {
    let authority = Authority::new();
    let upstream = HttpsServer::start(&authority, standard);
    let server = start(&upstream, &authority, "");
    let mut client = server.udp();
    assert_eq!(client.ask("www.example"), ok(7, "www.example"));
    // Another is answered meanwhile, so the connection is good.
    client.send(&query(1, "drop-tcp.example", "A"));
    thread::sleep(Duration::from_millis(50));
    assert_eq!(client.ask("www2.example"), ok(7, "www2.example"));
    let answer = client.receive();
    assert!(answer.starts_with("id=1 servfail drop-tcp"), "{answer}");
    upstream.wait_for_reset();
    assert_eq!(upstream.count(|seen| &seen.connections), 1);
    // Nothing is: it is left.
    let answer = client.ask("drop-tcp--again.example");
    assert!(answer.starts_with("id=7 servfail drop-tcp"), "{answer}");
    assert_eq!(client.ask("www3.example"), ok(7, "www3.example"));
    assert!(upstream.count(|seen| &seen.connections) >= 2);
}

#[test]
fn a_server_without_http_2_is_not_spoken_to() {
    let authority = Authority::new();
    let identity = authority.issue(&["dns.example"]);
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let upstream = TlsServer::with_config(identity.config(alpn), Manner::Good);
        let url = format!("https://{}", upstream.addr);
        let server = Running::start(&(config(&url, &[]) + &authority.lines()));
        let answer = server.udp().ask("www.example");
        assert!(answer.starts_with("id=7 servfail"), "{answer}");
        assert_eq!(upstream.seen.begun.load(Ordering::Relaxed), 0);
    }
}
