use super::*;

fn words(line: &str) -> Result<Cli> {
    parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn commands_and_their_defaults() {
    let cli = words("run").unwrap();
    assert_eq!(cli.command, Command::Run);
    assert_eq!(cli.config, PathBuf::from(CONFIG));
    let cli = words("check -c /tmp/x --run-dir /tmp/r").unwrap();
    assert_eq!(
        (cli.config, cli.run_dir),
        ("/tmp/x".into(), "/tmp/r".into())
    );
    assert_eq!(
        words("status --json").unwrap().command,
        Command::Status { json: true }
    );
    for (line, command) in [
        ("reload", Command::Reload { abort: false }),
        ("reload --abort", Command::Reload { abort: true }),
        ("suspend", Command::Suspend),
        ("resume", Command::Resume),
        ("clean", Command::Clean),
        ("doctor", Command::Doctor { json: false }),
        ("doctor --json", Command::Doctor { json: true }),
    ] {
        assert_eq!(words(line).unwrap().command, command, "{line}");
    }
    let flows = |json, newest| Command::Flows { json, newest };
    assert_eq!(words("flows").unwrap().command, flows(false, None));
    let many = words("flows 500 --json").unwrap().command;
    assert_eq!(many, flows(true, Some(500)));
    let choose = |member: Option<&str>, json| Command::Choose {
        group: "g".to_owned(),
        member: member.map(str::to_owned),
        json,
    };
    for (line, command) in [
        ("choose g", choose(None, false)),
        ("choose g --json", choose(None, true)),
        ("choose g m", choose(Some("m"), false)),
        ("choose g auto", choose(Some("auto"), false)),
    ] {
        assert_eq!(words(line).unwrap().command, command, "{line}");
    }
    let queries = |json, last| Command::Queries { json, last };
    for (line, command) in [
        ("status --queries", queries(false, None)),
        ("status --queries 20", queries(false, Some(20))),
        ("status --json --queries=20", queries(true, Some(20))),
    ] {
        assert_eq!(words(line).unwrap().command, command, "{line}");
    }
    assert_eq!(
        words("help config --markdown").unwrap().command,
        Command::HelpConfig { markdown: true }
    );
    assert_eq!(words("--version").unwrap().command, Command::Version);
    assert_eq!(words("run --help").unwrap().command, Command::Help);
}

#[test]
fn trace_reads_a_flow() {
    let cli = words(
        "trace fd77::2 [2001:db8::1]:53 --proto udp --domain a.example --domain b.example \
         --mac 00:11:22:33:44:55 --interface lan --dscp 46",
    );
    let Command::Trace(trace) = cli.unwrap().command else {
        panic!("not a trace")
    };
    assert_eq!(trace.flow.dst_port, 53);
    assert_eq!(trace.flow.proto, Proto::Udp);
    assert_eq!(
        trace.flow.src_mac,
        Some(Mac([0, 0x11, 0x22, 0x33, 0x44, 0x55]))
    );
    assert_eq!(trace.domains, ["a.example", "b.example"]);
    assert_eq!(trace.interface.as_deref(), Some("lan"));
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    for (line, reason) in [
        ("", "what should be done"),
        ("dance", "'dance' is not a command"),
        ("run --json", "--json goes with status"),
        ("choose", "wants a group"),
        ("choose a b c", "wants a group"),
        ("run --queries", "--queries goes with status"),
        ("suspend --abort", "--abort goes with reload"),
        ("resume now", "not a command"),
        ("status --queries many", "'many' is not a number"),
        ("flows many", "'many' is not a number"),
        ("flows 1 2", "a number or nothing"),
        ("status 20", "'20' says nothing"),
        ("run --proto tcp", "go with trace"),
        ("trace 1.2.3.4", "wants a source and a destination"),
        ("trace 1.2.3.4 ::1", "one IP version"),
        ("trace 1.2.3.4 example.com", "--domain"),
        ("trace 1.2.3.4 5.6.7.8 --dscp 64", "0 to 63"),
        ("trace 1.2.3.4 5.6.7.8 --proto icmp", "icmp"),
        ("check --frob", "--frob"),
    ] {
        let error = words(line).unwrap_err().to_string();
        assert!(error.contains(reason), "{line}: {error}");
    }
}
