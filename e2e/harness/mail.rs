//! Mail as senders, users and receivers see it: SMTP, submission, IMAP, DKIM.

use super::{eventually, secs, stack::Stack};
use futures::TryStreamExt;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A user's address and password.
pub type Login<'a> = (&'a str, &'a str);

/// Hands one message to the server: on port 25 as an outsider, or with a login by submission.
/// `Err` is the code of the refusal and its text.
pub async fn send(
    stack: &Stack,
    from: &str,
    to: &str,
    subject: &str,
    login: Option<Login<'_>>,
) -> Result<(), (u16, String)> {
    send_body(stack, from, to, subject, "hello\r\n", login).await
}

/// As [`send`], with a body.
pub async fn send_body(
    stack: &Stack,
    from: &str,
    to: &str,
    subject: &str,
    body: &str,
    login: Option<Login<'_>>,
) -> Result<(), (u16, String)> {
    let port = stack.port(if login.is_some() { "SUBMIT" } else { "SMTP" });
    hand_in(("127.0.0.1", port), from, to, subject, body, login).await
}

/// As [`send_body`], to a server that is named. Without TLS: the stack has no certificates.
pub async fn hand_in(
    (host, port): (&str, u16),
    from: &str,
    to: &str,
    subject: &str,
    body: &str,
    login: Option<Login<'_>>,
) -> Result<(), (u16, String)> {
    let mut builder =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(port).timeout(Some(Duration::from_secs(30)));
    if let Some((user, password)) = login {
        builder =
            builder.credentials(Credentials::new(user.into(), password.into())).authentication(vec![Mechanism::Plain]);
    }
    let id = format!("{}.{}", subject.replace(|c: char| !c.is_ascii_alphanumeric(), "-"), fastrand::u64(..));
    let message = format!(
        "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{id}@test>\r\nDate: Sun, 01 Nov 2026 00:00:00 +0000\r\n\r\n{body}"
    );
    let envelope = Envelope::new(Some(from.parse().expect("an address")), vec![to.parse().expect("an address")]);
    let sent = builder.build().send_raw(&envelope.expect("an envelope"), message.as_bytes()).await;
    sent.map(|_| ()).map_err(|e| (e.status().map(u16::from).unwrap_or(0), e.to_string()))
}

/// Asks whether the server takes a message of this size for a recipient, as sending servers do (RFC 1870), without
/// sending it: the answer to RCPT.
pub async fn offer(stack: &Stack, to: &str, size: usize) -> (u16, String) {
    let stream = TcpStream::connect(("127.0.0.1", stack.port("SMTP"))).await.expect("SMTP answers");
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut last = (0, String::new());
    let commands =
        ["", "EHLO outside.example", &format!("MAIL FROM:<x@outside.example> SIZE={size}"), &format!("RCPT TO:<{to}>")];
    for command in commands {
        if !command.is_empty() {
            write.write_all(format!("{command}\r\n").as_bytes()).await.expect("SMTP answers");
        }
        loop {
            let line = lines.next_line().await.expect("SMTP answers").expect("SMTP answers");
            if line.as_bytes().get(3) != Some(&b'-') {
                last = (line.get(..3).and_then(|c| c.parse().ok()).unwrap_or(0), line);
                break;
            }
        }
        if last.0 >= 400 {
            break;
        }
    }
    let _ = write.write_all(b"QUIT\r\n").await;
    last
}

/// Signs in by IMAP and reads all messages of the inbox; `Err` when the sign-in is refused.
pub async fn inbox(stack: &Stack, login: Login<'_>) -> Result<Vec<String>, String> {
    inbox_at(("127.0.0.1", stack.port("IMAP")), login).await
}

async fn imap(server: (&str, u16), (user, password): Login<'_>) -> Result<async_imap::Session<TcpStream>, String> {
    let stream = TcpStream::connect(server).await.map_err(|e| e.to_string())?;
    let mut client = async_imap::Client::new(stream);
    client.read_response().await.map_err(|e| e.to_string())?;
    client.login(user, password).await.map_err(|(e, _)| e.to_string())
}

/// As [`inbox`], of a server that is named. Without TLS: the stack has no certificates.
pub async fn inbox_at(server: (&str, u16), login: Login<'_>) -> Result<Vec<String>, String> {
    let mut session = imap(server, login).await?;
    let inbox = session.examine("INBOX").await.map_err(|e| e.to_string())?;
    let mut messages = vec![];
    if inbox.exists > 0 {
        let fetched: Vec<_> = {
            let stream = session.fetch("1:*", "BODY.PEEK[]").await.map_err(|e| e.to_string())?;
            stream.try_collect().await.map_err(|e| e.to_string())?
        };
        messages.extend(fetched.iter().filter_map(|f| f.body()).map(|b| String::from_utf8_lossy(b).into_owned()));
    }
    let _ = session.logout().await;
    Ok(messages)
}

/// Deletes all messages of the inbox.
pub async fn empty_inbox(stack: &Stack, login: Login<'_>) {
    let mut session = imap(("127.0.0.1", stack.port("IMAP")), login).await.expect("the sign-in works");
    session.select("INBOX").await.expect("an inbox");
    let flagged: Vec<_> =
        session.store("1:*", "+FLAGS (\\Deleted)").await.expect("a mark").try_collect().await.expect("a mark");
    let gone: Vec<_> = session.expunge().await.expect("deletion").try_collect().await.expect("deletion");
    assert_eq!(gone.len(), flagged.len());
    let _ = session.logout().await;
}

/// Whether the sign-in works.
pub async fn imap_login(stack: &Stack, login: Login<'_>) -> bool {
    inbox(stack, login).await.is_ok()
}

/// An IMAP session that stays open, to see it end.
pub struct Held(async_imap::Session<TcpStream>);

impl Held {
    /// Signs in and stays.
    pub async fn open(stack: &Stack, (user, password): Login<'_>) -> Held {
        let stream = TcpStream::connect(("127.0.0.1", stack.port("IMAP"))).await.expect("IMAP answers");
        let mut client = async_imap::Client::new(stream);
        client.read_response().await.expect("a greeting");
        Held(client.login(user, password).await.map_err(|(e, _)| e).expect("the sign-in works"))
    }
    /// Whether the server still talks to it.
    pub async fn alive(&mut self) -> bool {
        matches!(tokio::time::timeout(Duration::from_secs(5), self.0.noop()).await, Ok(Ok(())))
    }
}

/// Waits until a message with this subject is in the inbox; gives it.
pub async fn arrives(stack: &Stack, login: Login<'_>, subject: &str) -> String {
    eventually(&format!("{subject:?} is in the inbox of {}", login.0), secs(30), || async {
        let all = inbox(stack, login).await?;
        let n = all.len();
        all.into_iter().find(|m| has_subject(m, subject)).ok_or(format!("{n} other messages"))
    })
    .await
}

/// Whether a message has this subject.
pub fn has_subject(message: &str, subject: &str) -> bool {
    message.lines().take_while(|l| !l.trim_end().is_empty()).any(|l| l.trim_end() == format!("Subject: {subject}"))
}

/// A password as Dovecot itself would store it.
pub fn hash(password: &str) -> String {
    let out = Command::new("doveadm").args(["pw", "-s", "SHA512-CRYPT", "-p", password]).output().expect("doveadm pw");
    String::from_utf8(out.stdout).expect("text").trim().to_string()
}

/// One signature of a message, checked by dkimpy (an implementation that has nothing to do with ours) against the
/// record that the DNS server publishes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    /// `d=`
    pub domain: String,
    /// `s=`
    pub selector: String,
    /// `a=`
    pub algorithm: String,
    /// Whether it verifies.
    pub good: bool,
}

/// Checks all DKIM signatures of a message. Debian's Python: python3-dkim is a Debian package.
pub fn dkim_signatures(stack: &Stack, message: &str) -> Vec<Signature> {
    const SCRIPT: &str = r#"
import sys, dkim, dns.message, dns.query, dns.rdatatype, dns.flags
host, port = sys.argv[1].rsplit(":", 1)
def txt(name, timeout=5):
    q = dns.message.make_query((name if isinstance(name, str) else name.decode()), "TXT")
    a = dns.query.tcp(q, host, timeout=10, port=int(port))
    for rrset in a.answer:
        if rrset.rdtype == dns.rdatatype.TXT:
            return b"".join(list(rrset)[0].strings)
    return None
m = sys.stdin.buffer.read()
d = dkim.DKIM(m, minkey=1024)
for i, (_, value) in enumerate([h for h in d.headers if h[0].lower() == b"dkim-signature"]):
    tags = dict(t.strip().split(b"=", 1) for t in value.replace(b"\r\n", b"").split(b";") if b"=" in t)
    tag = lambda k: tags[k].strip().decode()
    try: good = d.verify(idx=i, dnsfunc=txt)
    except Exception as e: sys.stderr.write(f"{e!r}\n"); good = False
    print(tag(b"d"), tag(b"s"), tag(b"a"), good)
"#;
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT, stack.get("PDNS_DNS")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 can be started");
    python.stdin.take().expect("a pipe").write_all(message.as_bytes()).expect("a pipe");
    let out = python.wait_with_output().expect("python3 ends");
    assert!(out.status.success(), "dkimpy: {}", String::from_utf8_lossy(&out.stderr));
    if !out.stderr.is_empty() {
        eprintln!("dkimpy: {}", String::from_utf8_lossy(&out.stderr));
    }
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines()
        .filter_map(|l| match l.split(' ').collect::<Vec<_>>()[..] {
            [d, s, a, good] => {
                Some(Signature { domain: d.into(), selector: s.into(), algorithm: a.into(), good: good == "True" })
            }
            _ => None,
        })
        .collect()
}
