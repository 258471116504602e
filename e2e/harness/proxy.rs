//! Stands between the operator and a backend and breaks what passes, in the way and at the call that a test says.
//!
//! It understands just enough of the protocol to know where a call begins: HTTP requests, PostgreSQL messages. Everything
//! else goes through as it is. One thread and one runtime a proxy: a test's own runtime may end before it.

use super::stack::Stack;
use bytes::{Buf, BytesMut};
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens.
    Refuse,
    /// The connection is reset before the call reaches the server.
    ResetBefore,
    /// The server gets the call and does it, the connection is reset in the middle of its answer.
    ResetInAnswer,
    /// No answer, the connection stays open.
    Hang,
    /// HTTP: this answer instead; the server never sees the call. Status line, headers, body.
    Http(u16, &'static [(&'static str, &'static str)], &'static str),
    /// PostgreSQL: this SQLSTATE instead; the server never sees the statement.
    Sql(&'static str),
    /// PostgreSQL: COMMIT is carried out, and the connection is lost before anybody hears of it.
    LostCommit,
}

/// When it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At every call until [`Proxy::heal`].
    Always,
    /// At the n-th call from now on (0 = the next), once.
    Nth(usize),
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with Content-Length bodies.
    Http,
    /// PostgreSQL's, version 3, in the clear.
    Postgres,
}

#[derive(Default)]
struct State {
    plan: Option<(Fault, When)>,
    calls: Vec<String>,
    since: usize,
    fired: usize,
    /// How many changes of the plan were made, and how many the accepting loop has acted on.
    asked: u64,
    done: u64,
}

/// A running proxy.
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    state: Shared,
    changed: watch::Sender<u64>,
}

impl Proxy {
    /// Starts one in front of a port of this machine.
    pub fn start(stack: &Stack, protocol: Protocol, upstream: u16) -> Proxy {
        let port = stack.free_port();
        let state = Shared::default();
        let (changed, watcher) = watch::channel(0);
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let inner = state.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(accept(listener, port, upstream, protocol, inner, watcher));
        });
        Proxy { port, state, changed }
    }

    /// Breaks what passes from now on. Connections that are open are cut: a pool would hide the fault.
    pub fn fail(&self, fault: Fault, when: When) {
        self.change(Some((fault, when)));
    }

    /// Passes everything again.
    pub fn heal(&self) {
        self.change(None);
    }

    /// Waits until the accepting loop has acted on it, so that nothing passes under the old plan.
    fn change(&self, plan: Option<(Fault, When)>) {
        let asked = {
            let mut state = self.lock();
            if plan.is_some() {
                state.since = state.calls.len();
                state.fired = 0;
            }
            state.plan = plan;
            state.asked += 1;
            state.asked
        };
        self.changed.send_replace(asked);
        let acted =
            self.state.1.wait_timeout_while(self.lock(), super::secs(10), |s| s.done < asked).expect("no poison");
        assert!(!acted.1.timed_out(), "the proxy does not take its orders");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.0.lock().expect("no poison")
    }

    /// How often the fault struck since [`Proxy::fail`].
    pub fn fired(&self) -> usize {
        self.lock().fired
    }

    /// What was called since the beginning: `PATCH /api/...` or the beginning of a statement.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }
}

impl State {
    /// Notes a call and says what shall happen to it.
    fn strike(&mut self, call: String) -> Option<Fault> {
        let index = self.calls.len() - self.since;
        let commit = call.trim_start().to_ascii_uppercase().starts_with("COMMIT");
        self.calls.push(call);
        let (fault, when) = self.plan.clone()?;
        if fault == Fault::LostCommit && !commit {
            return None;
        }
        match when {
            When::Always => {}
            When::Nth(n) if self.fired == 0 && index >= n => {}
            When::Nth(_) => return None,
        }
        self.fired += 1;
        Some(fault)
    }

    fn refuses(&mut self) -> bool {
        let refuses = matches!(self.plan, Some((Fault::Refuse, _)));
        if refuses {
            self.fired += 1;
        }
        refuses
    }
}

type Shared = Arc<(Mutex<State>, Condvar)>;

async fn accept(
    listener: std::net::TcpListener,
    port: u16,
    upstream: u16,
    protocol: Protocol,
    state: Shared,
    mut changed: watch::Receiver<u64>,
) {
    let mut listener = Some(TcpListener::from_std(listener).expect("a socket"));
    loop {
        let (refuses, asked) = {
            let mut state = state.0.lock().expect("no poison");
            (state.refuses(), state.asked)
        };
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(("127.0.0.1", port)).await.ok();
            if listener.is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                continue;
            }
        }
        {
            state.0.lock().expect("no poison").done = asked;
            state.1.notify_all();
        }
        if refuses {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else { continue };
        tokio::select! {
            biased;
            ended = changed.changed() => if ended.is_err() { return },
            accepted = open.accept() => if let Ok((client, _)) = accepted {
                let (state, mut changed) = (state.clone(), changed.clone());
                changed.mark_unchanged();
                tokio::spawn(async move {
                    let _ = client.set_nodelay(true);
                    tokio::select! {
                        biased;
                        _ = changed.changed() => {}
                        _ = connection(client, upstream, protocol, &state) => {}
                    }
                });
            },
        }
    }
}

async fn connection(client: TcpStream, upstream: u16, protocol: Protocol, state: &Shared) -> io::Result<()> {
    match protocol {
        Protocol::Http => http(client, upstream, state).await,
        Protocol::Postgres => postgres(client, upstream, state).await,
    }
}

/// Closes with RST instead of FIN: what a crashed server's kernel sends.
fn reset(client: TcpStream) {
    let _ = client.set_zero_linger();
    drop(client);
}

/// Waits for ever; the connection is ended from outside.
async fn hang() {
    std::future::pending::<()>().await
}

async fn http(mut client: TcpStream, upstream: u16, state: &Shared) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let length = text
        .lines()
        .filter_map(|l| l.split_once(':'))
        .find(|(k, _)| k.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, v)| v.trim().parse::<usize>().ok())
        .unwrap_or(0);
    while buffer.len() < head + length {
        if client.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
    let body = String::from_utf8_lossy(&buffer[head..head + length]).into_owned();
    let first = text.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_string();
    // doveadm has one URL; its command is the first string of the body: [["kick", {...}, "tag"]]
    let command = body.trim_start_matches(['[', ' ']).split('"').nth(1).filter(|_| first.contains("doveadm"));
    let call = command.map(|c| format!("{first} {c}")).unwrap_or(first);
    let fault = state.0.lock().expect("no poison").strike(call);
    match fault {
        Some(Fault::Hang) => hang().await,
        Some(Fault::ResetBefore | Fault::Refuse) => reset(client),
        Some(Fault::Http(status, headers, body)) => {
            let mut answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
            headers.iter().for_each(|(k, v)| answer.push_str(&format!("{k}: {v}\r\n")));
            client.write_all(format!("{answer}\r\n{body}").as_bytes()).await?;
            client.shutdown().await?;
        }
        fault => {
            // One request a connection: then the end of the answer is the end of the stream.
            let mut request: String = text
                .lines()
                .filter(|l| !l.is_empty() && !l.to_ascii_lowercase().starts_with("connection:"))
                .flat_map(|l| [l, "\r\n"])
                .collect();
            request.push_str("Connection: close\r\n\r\n");
            let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
            server.write_all(request.as_bytes()).await?;
            server.write_all(body.as_bytes()).await?;
            let mut answer = vec![];
            server.read_to_end(&mut answer).await?;
            if fault == Some(Fault::ResetInAnswer) {
                client.write_all(&answer[..answer.len() / 2]).await?;
                // Let the half arrive: RST throws away what the other side has not read yet.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                reset(client);
            } else {
                client.write_all(&answer).await?;
                client.shutdown().await?;
            }
        }
    }
    Ok(())
}

/// One message: type and whole length, if it is complete.
fn message(buffer: &BytesMut) -> Option<(u8, usize)> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().ok()?) as usize + 1;
    (buffer.len() >= length).then_some((buffer[0], length))
}

fn c_string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

async fn postgres(mut client: TcpStream, upstream: u16, state: &Shared) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let (mut from_client, mut from_server) = (BytesMut::new(), BytesMut::new());
    // The startup message has no type.
    loop {
        if let Some(head) = from_client.get(..4) {
            let length = u32::from_be_bytes(head.try_into().expect("4 bytes")) as usize;
            if from_client.len() >= length {
                server.write_all(&from_client.split_to(length)).await?;
                break;
            }
        }
        if client.read_buf(&mut from_client).await? == 0 {
            return Ok(());
        }
    }
    let mut statements = std::collections::BTreeMap::<String, String>::new();
    // Transaction status of the last ReadyForQuery: I, T or E.
    let mut status = b'I';
    // Swallowing up to Sync, after an error that the server knows nothing of.
    let mut error: Option<&'static str> = None;
    // The answer to what was forwarded last must not arrive.
    let mut lost = false;
    loop {
        while let Some((kind, length)) = message(&from_client) {
            let bytes = from_client.split_to(length);
            let payload = &bytes[5..];
            if error.is_some() {
                if kind == b'S' {
                    client.write_all(&ready(status)).await?;
                    error = None;
                }
                continue;
            }
            let call = match kind {
                b'Q' => Some(c_string(payload)),
                b'P' => {
                    let name = c_string(payload);
                    statements.insert(name.clone(), c_string(&payload[name.len() + 1..]));
                    None
                }
                b'B' => {
                    let portal = c_string(payload);
                    statements.get(&c_string(&payload[portal.len() + 1..])).cloned()
                }
                _ => None,
            };
            let fault = call.and_then(|call| state.0.lock().expect("no poison").strike(call));
            match fault {
                None | Some(Fault::Http(..)) => {}
                Some(Fault::Refuse | Fault::ResetBefore) => {
                    reset(client);
                    return Ok(());
                }
                Some(Fault::Hang) => hang().await,
                Some(Fault::ResetInAnswer | Fault::LostCommit) => lost = true,
                Some(Fault::Sql(code)) => {
                    if status == b'T' {
                        status = b'E';
                        // The server's transaction must fail too: a COMMIT after this would otherwise commit half of it.
                        server.write_all(&query("SELECT 1/0")).await?;
                        drain_until_ready(&mut server, &mut from_server).await?;
                    }
                    client.write_all(&error_response(code)).await?;
                    if kind == b'Q' {
                        client.write_all(&ready(status)).await?;
                    } else {
                        error = Some(code);
                    }
                    continue;
                }
            }
            server.write_all(&bytes).await?;
        }
        while let Some((kind, length)) = message(&from_server) {
            let bytes = from_server.split_to(length);
            if kind == b'Z' {
                status = bytes[5];
                if lost {
                    reset(client);
                    return Ok(());
                }
            }
            if !lost {
                client.write_all(&bytes).await?;
            }
        }
        tokio::select! {
            biased;
            n = client.read_buf(&mut from_client) => if n? == 0 { return Ok(()) },
            n = server.read_buf(&mut from_server) => if n? == 0 { return Ok(()) },
        }
    }
}

async fn drain_until_ready(server: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<()> {
    loop {
        while let Some((kind, length)) = message(buffer) {
            buffer.advance(length);
            if kind == b'Z' {
                return Ok(());
            }
        }
        if server.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend((payload.len() as u32 + 4).to_be_bytes());
    out.extend(payload);
    out
}

fn ready(status: u8) -> Vec<u8> {
    framed(b'Z', &[status])
}

fn query(sql: &str) -> Vec<u8> {
    framed(b'Q', format!("{sql}\0").as_bytes())
}

fn error_response(code: &str) -> Vec<u8> {
    framed(b'E', format!("SERROR\0VERROR\0C{code}\0Mmade by a test\0\0").as_bytes())
}
