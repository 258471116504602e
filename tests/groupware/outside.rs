//! What a person or another mail server sees: IMAP, POP3, SMTP and DAV, spoken by hand so that refusals keep their codes.

use crate::stack::Stack;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// One line-based connection.
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    async fn open(port: u16) -> Wire {
        Wire(BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap()))
    }

    async fn line(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = timeout(Duration::from_secs(30), self.0.read_until(b'\n', &mut bytes)).await;
        if read.is_err() {
            panic!("no line in 30 s");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn say(&mut self, text: &str) {
        let _ = self.0.get_mut().write_all(format!("{text}\r\n").as_bytes()).await;
    }

    /// SMTP: the code of the last line of a reply.
    async fn reply(&mut self) -> u16 {
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return 0;
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.get(..3).and_then(|c| c.parse().ok()).unwrap_or(0);
            }
        }
    }

    async fn ask(&mut self, text: &str) -> u16 {
        self.say(text).await;
        self.reply().await
    }

    /// IMAP: all lines until the tagged one; whether it says OK.
    async fn tagged(&mut self, tag: &str, command: &str) -> (bool, String) {
        self.say(&format!("{tag} {command}")).await;
        let mut all = String::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return (false, all);
            }
            if let Some(rest) = line.strip_prefix(&format!("{tag} ")) {
                return (rest.starts_with("OK"), all + rest);
            }
            all.push_str(&line);
        }
    }

    /// Whether an IMAP session is still alive.
    pub async fn noop(&mut self) -> bool {
        self.tagged("n", "NOOP").await.0
    }
}

/// The world outside of a stack.
pub struct Outside<'a> {
    stack: &'a Stack,
    http: reqwest::Client,
}

/// A message to send.
pub struct Mail<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub login: Option<(&'a str, &'a str)>,
    pub subject: &'a str,
    pub size: usize,
}

impl<'a> Outside<'a> {
    pub fn new(stack: &'a Stack) -> Self {
        Outside { stack, http: reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build().unwrap() }
    }

    /// A session, if the sign-in is taken.
    pub async fn imap_at(&self, port: &str, user: &str, password: &str) -> Option<Wire> {
        let mut w = Wire::open(self.stack.port(port)).await;
        w.line().await;
        w.tagged("a", &format!("LOGIN {user} {password}")).await.0.then_some(w)
    }

    pub async fn imap(&self, user: &str, password: &str) -> Option<Wire> {
        self.imap_at("IMAP", user, password).await
    }

    pub async fn pop3(&self, user: &str, password: &str) -> bool {
        let mut w = Wire::open(self.stack.port("POP3")).await;
        w.line().await;
        w.say(&format!("USER {user}")).await;
        w.line().await;
        w.say(&format!("PASS {password}")).await;
        w.line().await.starts_with("+OK")
    }

    pub async fn sieve(&self, user: &str, password: &str) -> bool {
        self.sieve_in(user, password).await.is_some()
    }

    async fn sieve_in(&self, user: &str, password: &str) -> Option<Wire> {
        let mut w = Wire::open(self.stack.port("SIEVE")).await;
        while !w.line().await.starts_with("OK") {}
        let token = STANDARD.encode(format!("\0{user}\0{password}"));
        w.say(&format!("AUTHENTICATE \"PLAIN\" \"{token}\"")).await;
        w.line().await.starts_with("OK").then_some(w)
    }

    /// Makes a Sieve script the user's active one.
    pub async fn put_sieve(&self, user: &str, password: &str, script: &str) {
        let mut w = self.sieve_in(user, password).await.unwrap();
        for command in [format!("PUTSCRIPT \"s\" {{{}+}}\r\n{script}", script.len()), "SETACTIVE \"s\"".to_owned()] {
            w.say(&command).await;
            let answer = w.line().await;
            assert!(answer.starts_with("OK"), "{answer}");
        }
    }

    /// What is in the inbox, as one text.
    pub async fn inbox(&self, user: &str, password: &str) -> String {
        let mut w = self.imap(user, password).await.unwrap_or_else(|| panic!("{user} cannot sign in"));
        let (_, selected) = w.tagged("b", "SELECT INBOX").await;
        if selected.contains("* 0 EXISTS") {
            return String::new();
        }
        w.tagged("c", "FETCH 1:* BODY.PEEK[]").await.1
    }

    /// The code of the first refusal, or the one of the end: 250.
    pub async fn send(&self, mail: &Mail<'_>) -> u16 {
        self.send_with(mail, &format!("From: <{}>\r\n", mail.from)).await
    }

    /// The same with these fields in the place of `From:`.
    pub async fn send_with(&self, mail: &Mail<'_>, author: impl AsRef<[u8]>) -> u16 {
        let mut w = Wire::open(self.stack.port(if mail.login.is_some() { "SUBMIT" } else { "SMTP" })).await;
        w.reply().await;
        w.ask("EHLO client.ext.test").await;
        if let Some((user, password)) = mail.login {
            let code = w.ask(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}")))).await;
            if code != 235 {
                return code;
            }
        }
        let body = format!("{}\r\n", "x".repeat(70)).repeat(mail.size / 72 + 1);
        let rest = format!(
            "To: <{}>\r\nSubject: {}\r\nMessage-ID: <{}-{}@ext.test>\r\nDate: Sun, 1 Nov 2026 10:00:00 +0000\r\n\r\n{body}",
            mail.to,
            mail.subject,
            mail.subject,
            fastrand::u64(..)
        );
        let text = [author.as_ref(), rest.as_bytes(), b".\r\n"].concat();
        for command in [format!("MAIL FROM:<{}> SIZE={}", mail.from, text.len()), format!("RCPT TO:<{}>", mail.to)] {
            let code = w.ask(&command).await;
            if code != 250 {
                return code;
            }
        }
        if w.ask("DATA").await != 354 {
            return 0;
        }
        let _ = w.0.get_mut().write_all(&text).await;
        w.reply().await
    }

    /// Mail from outside.
    pub async fn mail(&self, to: &str, subject: &str) -> u16 {
        self.send(&Mail { from: "x@ext.test", to, login: None, subject, size: 100 }).await
    }

    /// Mail of a user to itself, sent as `from`.
    pub async fn submit(&self, user: &str, password: &str, from: &str, to: &str, subject: &str) -> u16 {
        self.send(&Mail { from, to, login: Some((user, password)), subject, size: 100 }).await
    }

    /// Status and body of a request to SOGo's DAV.
    pub async fn dav(&self, method: &str, user: &str, password: &str, path: &str, body: &'static str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}/SOGo/dav/{user}/{path}", self.stack.port("SOGO"));
        let kind = match path.rsplit('.').next() {
            Some("ics") => "text/calendar",
            Some("vcf") => "text/vcard",
            _ => "application/xml",
        };
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        // A worker of SOGo that loses the race for a connection resets it; every request here may be repeated.
        let mut tries = 0;
        let answer = loop {
            let request = self.http.request(method.clone(), &url).basic_auth(user, Some(password)).header("Depth", "1");
            match request.header("Content-Type", kind).body(body).send().await {
                Ok(answer) => break answer,
                Err(e) if tries == 3 => panic!("{e:?}"),
                Err(_) => tries += 1,
            }
        };
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    }

    /// Whether DAV takes the sign-in.
    pub async fn dav_in(&self, user: &str, password: &str) -> bool {
        self.dav("PROPFIND", user, password, "Calendar/", "").await.0 == 207
    }

    /// IMAP, submission and DAV.
    pub async fn signs_in(&self, user: &str, password: &str) -> [bool; 3] {
        [
            self.imap(user, password).await.is_some(),
            self.submit(user, password, user, user, "self").await == 250,
            self.dav_in(user, password).await,
        ]
    }
}

/// What listens where the stack sends mail for other domains: counts the envelopes' recipients.
pub async fn sink(stack: &Stack) -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", stack.port("SINK"))).await.unwrap();
    let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((s, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut w = Wire(BufReader::new(s));
                w.say("220 sink").await;
                loop {
                    let line = w.line().await;
                    if let Some(to) = line.strip_prefix("RCPT TO:<") {
                        let _ = tell.send(to.split('>').next().unwrap_or_default().to_owned());
                    }
                    match line.get(..4) {
                        None => return,
                        Some("DATA") => {
                            w.say("354 go").await;
                            while w.line().await != ".\r\n" {}
                            w.say("250 taken").await;
                        }
                        Some("QUIT") => {
                            w.say("221 bye").await;
                            let mut rest = Vec::new();
                            let _ = w.0.read_to_end(&mut rest).await;
                            return;
                        }
                        Some(_) => w.say("250 ok").await,
                    }
                }
            });
        }
    });
    heard
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < end, "not in 20 s: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}
