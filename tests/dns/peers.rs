//! Real programs: unbound behind us, dig and dnsperf in front of us, dnsmasq beside us.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::home::{Home, Namespace};
use crate::server::{Client, Running, config};

/// A program that ends with this.
pub struct Program {
    child: Child,
    folder: PathBuf,
}

impl Program {
    /// Writes `text` to a file `name` in a folder of its own, and starts `command` with it.
    pub fn start(command: &[&str], name: &str, text: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("dae-dns-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name);
        std::fs::File::create(&file)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let file = file.to_str().unwrap();
        let arguments = command[1..].iter().map(|word| word.replace("FILE", file));
        let mut command = Command::new(command[0]);
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self {
            child: command.spawn().expect(name),
            folder,
        }
    }

    /// unbound with a zone of its own on `addr`.
    fn unbound(addr: SocketAddr) -> Self {
        let (ip, port) = (addr.ip(), addr.port());
        let big: String = (1..=100)
            .map(|n| format!("  local-data: \"big.zone. 60 A 192.0.2.{n}\"\n"))
            .collect();
        let text = format!(
            "server:\n  interface: {ip}@{port}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  \
             directory: \"/\"\n  pidfile: \"\"\n  use-syslog: no\n  access-control: 0.0.0.0/0 allow\n  \
             local-zone: \"zone.\" static\n  local-data: \"zone. 60 SOA ns.zone. me.zone. 1 2 3 4 5\"\n  \
             local-data: \"www.zone. 60 A 192.0.2.1\"\n  local-data: \"www.zone. 60 AAAA 2001:db8::1\"\n  \
             local-data: \"txt.zone. 60 TXT text\"\n{big}  \
             local-zone: \"any.zone.\" redirect\n  local-data: \"any.zone. 60 A 192.0.2.2\"\n"
        );
        Self::start(&["unbound", "-d", "-c", "FILE"], "unbound.conf", &text)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port of loopback that nobody has, UDP and TCP.
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    UdpSocket::bind(addr).map_or_else(|_| free_port(), |_| addr)
}

pub fn wait_for(addr: SocketAddr) {
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < end, "nobody listens on {addr}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command)
        .args(arguments)
        .output()
        .expect(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command} {arguments:?}: {text}");
    text
}

/// dig's answer, without statistics.
fn dig(addr: SocketAddr, arguments: &[&str]) -> String {
    let (port, server) = (addr.port().to_string(), format!("@{}", addr.ip()));
    let mut all = vec!["+nostats", "+nocmd", "+tries=1", "-p", &port, &server];
    all.extend(arguments);
    run("dig", &all)
}

#[test]
fn dig_sees_what_unbound_says() {
    let upstream = free_port();
    let _unbound = Program::unbound(upstream);
    wait_for(upstream);
    for scheme in ["tcp+udp", "udp", "tcp"] {
        let server = Running::start(&config(&format!("{scheme}://{upstream}"), &[]));
        for question in [
            &["WWW.zone", "A"][..],
            &["www.zone", "AAAA", "+noedns"],
            &["www.zone", "AAAA", "+tcp", "+dnssec"],
            &["txt.zone", "TXT"],
            &["no.zone", "A"],
            &["www.zone", "MX"],
        ] {
            for _ in 0..2 {
                let (direct, ours) = (dig(upstream, question), dig(server.addr, question));
                // dnsmasq's, unbound's and our payload sizes agree; AA is the authority's.
                let lines = |text: &str| -> Vec<String> {
                    let kept = text.lines().filter(|line| {
                        !line.contains("opcode") && !line.is_empty() && !line.starts_with(";; WARN")
                    });
                    let plain =
                        kept.map(|line| line.replace(" aa", "").replace("qr rd;", "qr rd ra;"));
                    plain.collect()
                };
                assert_eq!(lines(&ours), lines(&direct), "{scheme} {question:?}");
            }
        }
        let truncated = dig(server.addr, &["big.zone", "A", "+ignore", "+noedns"]);
        assert!(truncated.contains(" tc "), "{truncated}");
        // dig itself turns to TCP.
        let whole = dig(server.addr, &["big.zone", "A", "+noall", "+answer"]);
        let expected = if scheme == "udp" { 0..101 } else { 100..101 };
        assert!(
            expected.contains(&whole.lines().count()),
            "{scheme}: {whole}"
        );
    }
}

#[test]
fn dnsperf_loses_nothing() {
    let upstream = free_port();
    let _unbound = Program::unbound(upstream);
    wait_for(upstream);
    let server = Running::start(&config(&format!("tcp+udp://{upstream}"), &[]));
    let names: String = (0..500).map(|n| format!("n{n}.any.zone A\n")).collect();
    let file = std::env::temp_dir().join(format!("dae-dns-names-{}", std::process::id()));
    std::fs::write(&file, names).unwrap();
    let port = server.addr.port().to_string();
    for mode in ["udp", "tcp"] {
        let text = run(
            "dnsperf",
            &[
                "-s",
                "127.0.0.1",
                "-p",
                &port,
                "-d",
                file.to_str().unwrap(),
                "-n",
                "10",
                "-c",
                "4",
                "-q",
                "50",
                "-m",
                mode,
            ],
        );
        assert!(
            text.contains("Queries completed:    5000 (100.00%)"),
            "{text}"
        );
        assert!(text.contains("NOERROR 5000 (100.00%)"), "{text}");
    }
    std::fs::remove_file(&file).unwrap();
    let stats = server.stats();
    assert!(
        stats.upstreams[0].sent_udp < 700,
        "{:?}",
        stats.upstreams[0]
    );
    assert!(stats.cache.hits + stats.followers + stats.upstreams[0].answered_udp >= 10_000);
    assert_eq!((stats.refused, stats.servfail, stats.unsent), (0, 0, 0));
}

#[test]
fn local_names_come_from_dnsmasq() {
    let home = Home::new();
    let start = |namespace: &Namespace, arguments: &'static str| {
        namespace.run(move || {
            let mut command = vec!["dnsmasq", "--conf-file=FILE", "--keep-in-foreground"];
            command.extend(arguments.split_whitespace());
            Program::start(
                &command,
                "dnsmasq.conf",
                "no-resolv\nno-hosts\npid-file=\nuser=root\n",
            )
        })
    };
    let _dnsmasq = start(
        &home.internet,
        "--listen-address=203.0.113.53 --bind-interfaces --local=/lan/ \
         --host-record=nas.lan,192.168.1.7 --local-ttl=0 --domain-needed",
    );
    let upstream = home.internet.run(|| {
        wait_for("203.0.113.53:53".parse().unwrap());
        crate::upstream::Upstream::start_at("203.0.113.54:5300", crate::upstream::Speaks::Both)
    });
    let server = Running::start_transparent(&config(&upstream.url("tcp+udp"), &[]), &home.router);
    let ask = |name: &'static str, tcp: bool| {
        home.client.run(move || {
            let addr = "203.0.113.53:53".parse().unwrap();
            let mut client = if tcp {
                Client::tcp(addr)
            } else {
                Client::udp(addr)
            };
            client.ask(name)
        })
    };
    for tcp in [false, true] {
        assert_eq!(
            ask("nas.lan", tcp),
            "id=7 noerror aa nas.lan A A:0:192.168.1.7"
        );
        assert_eq!(ask("no.lan", tcp), "id=7 nxdomain no.lan A");
        assert_eq!(
            ask("www.example", tcp),
            "id=7 noerror www.example A A:300:192.0.2.1"
        );
    }
    let learnt = server.learnt.lock().unwrap();
    assert_eq!(learnt[0].0, "nas.lan");
}
