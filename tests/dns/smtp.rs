//! The recipient probe against a small server that follows a script, and that never wants to see DATA.

use mailtenant_dns::probe::SmtpProbe;
use mailtenant_dns::{BackendError, RecipientProbe, Verdict};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

type Log = Arc<Mutex<Vec<String>>>;

/// Answers each command with what `answer` says; none = closes the connection, empty = says nothing.
async fn scripted(answer: impl Fn(&str) -> Option<String> + Clone + Send + 'static) -> ((String, u16), Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = ("127.0.0.1".to_string(), listener.local_addr().expect("address").port());
    let log: Log = Arc::default();
    let commands = log.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (commands, answer) = (commands.clone(), answer.clone());
            commands.lock().expect("log").push("(connected)".into());
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                let _ = write.write_all(b"220 test ESMTP\r\n").await;
                while let Ok(Some(line)) = lines.next_line().await {
                    commands.lock().expect("log").push(line.clone());
                    match answer(&line) {
                        Some(text) => drop(write.write_all(text.as_bytes()).await),
                        None => return,
                    }
                }
            });
        }
    });
    (at, log)
}

fn usual(line: &str) -> Option<String> {
    let code = match line {
        l if l.starts_with("EHLO") => "250-test\r\n250 PIPELINING",
        "MAIL FROM:<>" | "RSET" => "250 2.0.0 Ok",
        "QUIT" => "221 2.0.0 Bye",
        "RCPT TO:<good@acme.test>" => "250 2.1.5 Ok",
        "RCPT TO:<moved@acme.test>" => "251 User not local; will forward",
        "RCPT TO:<full@acme.test>" => "452 4.2.2 <full@acme.test> Mailbox is full",
        "RCPT TO:<over@acme.test>" => "552 5.2.2 Over quota",
        "RCPT TO:<grey@acme.test>" => "450 4.2.0 Greylisted",
        "RCPT TO:<none@acme.test>" => "550 5.1.1 <none@acme.test>: User unknown",
        "RCPT TO:<closing@acme.test>" => "421 4.3.2 Closing",
        l if l.starts_with("RCPT TO:<n") => "250 2.1.5 Ok",
        _ => "503 5.5.1 unexpected",
    };
    Some(format!("{code}\r\n"))
}

fn probe() -> SmtpProbe {
    SmtpProbe::new("operator.test").with_timeout(Duration::from_secs(2))
}

/// More time than any of these takes.
const AMPLE: Duration = Duration::from_secs(60);

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| format!("{n}@acme.test")).collect()
}

fn assert_no_data(log: &Log) {
    let log = log.lock().expect("log");
    let allowed = |l: &String| {
        ["(connected)", "EHLO ", "MAIL FROM:<>", "RCPT TO:<", "RSET", "QUIT"].iter().any(|c| l.starts_with(c))
    };
    assert!(log.iter().all(allowed), "{log:?}");
}

#[tokio::test]
async fn each_answer_has_its_verdict() {
    let (at, log) = scripted(usual).await;
    let verdicts =
        probe().ask(&at, &list(&["good", "moved", "full", "over", "grey", "none"]), AMPLE).await.expect("verdicts");
    use Verdict::*;
    let want = [
        Accepted,
        Accepted,
        Accepted,
        Accepted,
        Later("450 4.2.0 Greylisted".into()),
        Refused("550 5.1.1 <none@acme.test>: User unknown".into()),
    ];
    assert_eq!(verdicts, want);
    assert_no_data(&log);
    assert_eq!(log.lock().expect("log")[1..3], ["EHLO operator.test", "MAIL FROM:<>"]);
    assert!(log.lock().expect("log").contains(&"RSET".to_string()));
}

#[tokio::test]
async fn fifty_a_connection_and_no_more() {
    let (at, log) = scripted(usual).await;
    let addresses: Vec<String> = (0..120).map(|n| format!("n{n}@acme.test")).collect();
    assert_eq!(probe().ask(&at, &addresses, AMPLE).await.expect("verdicts"), vec![Verdict::Accepted; 120]);
    let log_lines = log.lock().expect("log").clone();
    assert_eq!(log_lines.iter().filter(|l| *l == "(connected)").count(), 3);
    let per: Vec<usize> = log_lines
        .split(|l| l == "(connected)")
        .skip(1)
        .map(|c| c.iter().filter(|l| l.starts_with("RCPT")).count())
        .collect();
    assert_eq!(per, [50, 50, 20]);
    assert_no_data(&log);
}

#[tokio::test]
async fn a_server_that_does_not_answer_gives_no_verdicts() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        ("127.0.0.1".to_string(), listener.local_addr().expect("address").port())
    };
    let (rude, _) =
        scripted(|l| if l.starts_with("EHLO") { Some("554 5.3.2 go away\r\n".into()) } else { usual(l) }).await;
    let (wary, _) =
        scripted(|l| if l.starts_with("MAIL") { Some("550 5.7.1 no empty senders\r\n".into()) } else { usual(l) })
            .await;
    let (silent, _) = scripted(|l| if l.starts_with("RCPT") { Some(String::new()) } else { usual(l) }).await;
    let probe = SmtpProbe::new("operator.test").with_timeout(Duration::from_millis(400));
    let bad = [gone, rude, wary, silent];
    for server in bad {
        let result = probe.ask(&server, &list(&["good"]), AMPLE).await;
        assert!(matches!(result, Err(BackendError::Unavailable { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn goes_on_where_a_connection_ended() {
    // Takes no more than two recipients a connection, then closes.
    let count = Arc::new(Mutex::new(0));
    let (at, log) = scripted(move |l| {
        let mut count = count.lock().expect("no poison");
        *count = if l.starts_with("EHLO") { 0 } else { *count + usize::from(l.starts_with("RCPT")) };
        if *count > 2 { None } else { usual(l) }
    })
    .await;
    let verdicts = probe().ask(&at, &list(&["good", "none", "good", "none", "good"]), AMPLE).await.expect("verdicts");
    use Verdict::*;
    assert!(matches!(verdicts.as_slice(), [Accepted, Refused(_), Accepted, Refused(_), Accepted]), "{verdicts:?}");
    assert_no_data(&log);
    // And where it ends at each first one, what was answered before counts.
    let (at, _) = scripted(|l| if l == "RCPT TO:<closing@acme.test>" { None } else { usual(l) }).await;
    let verdicts = probe().ask(&at, &list(&["good", "closing", "good"]), AMPLE).await.expect("verdicts");
    assert_eq!(verdicts, [Accepted]);
}

#[tokio::test]
async fn a_slow_server_is_asked_for_as_many_as_there_is_time_for() {
    let slow = |l: &str| {
        if l.starts_with("RCPT") {
            std::thread::sleep(Duration::from_millis(50));
        }
        usual(l)
    };
    let (at, log) = scripted(slow).await;
    let addresses: Vec<String> = (0..100).map(|n| format!("n{n}@acme.test")).collect();
    let some = probe().ask(&at, &addresses, Duration::from_millis(400)).await.expect("verdicts");
    assert!((1..20).contains(&some.len()), "{}", some.len());
    // Also without any time at all it gets on.
    assert_eq!(probe().ask(&at, &addresses, Duration::ZERO).await.expect("verdicts"), [Verdict::Accepted]);
    assert_no_data(&log);
}

#[tokio::test]
async fn what_is_no_address_is_never_sent() {
    let (at, log) = scripted(usual).await;
    let bad = ["a@b.test>\r\nDATA\r\n<", "no-at", "a b@acme.test", "é@acme.test", ""];
    let addresses: Vec<String> = bad.iter().map(|s| s.to_string()).chain(list(&["good"])).collect();
    let verdicts = probe().ask(&at, &addresses, AMPLE).await.expect("verdicts");
    assert!(verdicts[..bad.len()].iter().all(|v| matches!(v, Verdict::Refused(_))), "{verdicts:?}");
    assert_eq!(verdicts.last(), Some(&Verdict::Accepted));
    assert_no_data(&log);
}
