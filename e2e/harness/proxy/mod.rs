//! Stands between the operator and a backend and breaks what passes, in the way and at the call that a test says.
//!
//! It understands just enough of the protocol to know where a call begins and of what kind it is. Everything else goes
//! through as it is. One thread and one runtime a proxy: a test's own runtime may end before it.

mod dns;
mod http;
mod lines;
mod postgres;

use super::stack::Stack;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, watch};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens. By kind of call: the server goes away at that call, and nobody listens from then on.
    Refuse,
    /// The connection is reset before the call reaches the server.
    ResetBefore,
    /// The server gets the call and does it, the connection is reset in the middle of its answer.
    ResetInAnswer,
    /// No answer, the connection stays open.
    Hang,
    /// The connection is closed in good order, without an answer.
    Close,
    /// HTTP: this answer instead; the server never sees the call. Status line, headers, body.
    Http(u16, &'static [(&'static str, &'static str)], &'static str),
    /// PostgreSQL: this SQLSTATE instead; the server never sees the statement.
    Sql(&'static str),
    /// PostgreSQL: COMMIT is carried out, and the connection is lost before anybody hears of it.
    LostCommit,
    /// memcached, SMTP: this line instead; the server never sees the call.
    Line(&'static str),
    /// DNS: this response code instead.
    Rcode(u8),
    /// DNS: the answer does not fit, and over TCP there is none.
    Truncated,
}

/// When it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At every call until [`Proxy::heal`].
    Always,
    /// At the n-th call from now on (0 = the next), once.
    Nth(usize),
    /// At every call of a kind that was not opened yet: [`Proxy::block`].
    Unopened,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with Content-Length bodies: PowerDNS' API, doveadm's.
    Http,
    /// PostgreSQL's, version 3, in the clear.
    Postgres,
    /// memcached's text protocol.
    Memcached,
    /// SMTP without TLS and pipelining.
    Smtp,
    /// DNS over UDP, and over TCP.
    Dns,
}

#[derive(Default)]
struct State {
    plan: Option<(Fault, When)>,
    /// Kinds of call that pass, under [`When::Unopened`].
    open: BTreeSet<String>,
    /// Under [`Fault::Refuse`] and [`When::Unopened`]: the kind of call at which the server went away.
    down: Option<String>,
    /// Calls that were struck since the plan was made, by kind.
    struck: BTreeMap<String, usize>,
    calls: Vec<String>,
    since: usize,
    fired: usize,
    /// How many changes of the plan were made, and how many the accepting loop has acted on.
    asked: u64,
    done: u64,
}

/// What the proxy's thread shares with the test.
struct Inner {
    state: Mutex<State>,
    acted: Condvar,
    /// The accepting loop has to look at the state.
    turned: Notify,
    /// Something was opened: whoever hangs has to look.
    opened: watch::Sender<u64>,
}

type Shared = Arc<Inner>;

/// A running proxy.
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    shared: Shared,
    /// Connections are cut when this moves; the proxy ends when it is dropped.
    cut: watch::Sender<u64>,
}

impl Proxy {
    /// Starts one in front of a port of this machine.
    pub fn start(stack: &Stack, protocol: Protocol, upstream: u16) -> Proxy {
        let port = stack.free_port();
        let shared = Arc::new(Inner {
            state: Mutex::default(),
            acted: Condvar::new(),
            turned: Notify::new(),
            opened: watch::channel(0).0,
        });
        let (cut, cuts) = watch::channel(0);
        let place = Place { port, upstream, protocol };
        // Bound at once: whoever gets the port may use it.
        let tcp = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        tcp.set_nonblocking(true).expect("a socket");
        let udp = (protocol == Protocol::Dns).then(|| {
            let udp = std::net::UdpSocket::bind(("127.0.0.1", port)).expect("a free port");
            udp.set_nonblocking(true).expect("a socket");
            udp
        });
        let inner = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let sockets = Sockets {
                    tcp: TcpListener::from_std(tcp).expect("a socket"),
                    udp: udp.map(|u| Arc::new(UdpSocket::from_std(u).expect("a socket"))),
                };
                accept(place, sockets, inner, cuts).await;
            });
        });
        Proxy { port, shared, cut }
    }

    /// Breaks what passes from now on. Connections that are open are cut: a pool would hide the fault.
    pub fn fail(&self, fault: Fault, when: When) {
        self.plan(Some((fault, when)), BTreeSet::new());
    }

    /// Breaks every call from now on, but for those of the kinds in `open`, until its kind is opened.
    pub fn block(&self, fault: Fault, open: BTreeSet<String>) {
        self.plan(Some((fault, When::Unopened)), open);
    }

    /// Calls of this kind pass again; those that hang are reset. Other connections stay as they are.
    pub fn open(&self, kind: &str) {
        self.change(|state| {
            state.open.insert(kind.to_string());
            state.down.take_if(|down| down == kind);
        });
        self.shared.opened.send_modify(|n| *n += 1);
    }

    /// Passes everything again.
    pub fn heal(&self) {
        self.plan(None, BTreeSet::new());
    }

    fn plan(&self, plan: Option<(Fault, When)>, open: BTreeSet<String>) {
        self.change(|state| {
            if plan.is_some() {
                state.since = state.calls.len();
                state.fired = 0;
                state.struck.clear();
            }
            (state.plan, state.open, state.down) = (plan, open, None);
        });
        self.cut.send_modify(|n| *n += 1);
    }

    /// Waits until the accepting loop has acted on it, so that nothing passes under the old plan.
    fn change(&self, how: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        how(&mut state);
        state.asked += 1;
        let asked = state.asked;
        self.shared.turned.notify_one();
        let acted = self.shared.acted.wait_timeout_while(state, Duration::from_secs(60), |s| s.done < asked);
        assert!(!acted.expect("no poison").1.timed_out(), "the proxy does not take its orders");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no poison")
    }

    /// How often the fault struck since the plan was made.
    pub fn fired(&self) -> usize {
        self.lock().fired
    }

    /// Kinds of call that were struck since the plan was made and are not open, and how often.
    pub fn blocked(&self) -> BTreeMap<String, usize> {
        let state = self.lock();
        state.struck.iter().filter(|(kind, _)| !state.open.contains(*kind)).map(|(k, n)| (k.clone(), *n)).collect()
    }

    /// What was called since it was started, by kind.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no poison")
    }

    /// Notes a call and says what shall happen to it.
    fn strike(&self, kind: &str) -> Option<Fault> {
        let mut state = self.lock();
        let fault = state.strike(kind);
        if state.down.is_some() {
            self.turned.notify_one();
        }
        fault
    }

    /// Waits until calls of this kind pass; a change of the plan cuts the connection.
    async fn hang(&self, kind: &str) {
        let mut opened = self.opened.subscribe();
        while !self.lock().open.contains(kind) {
            if opened.changed().await.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn strike(&mut self, kind: &str) -> Option<Fault> {
        let index = self.calls.len() - self.since;
        self.calls.push(kind.to_string());
        let (fault, when) = self.plan.clone()?;
        if self.down.is_some() {
            return Some(fault);
        }
        if fault == Fault::LostCommit && !kind.starts_with("COMMIT") {
            return None;
        }
        match when {
            When::Always => {}
            When::Nth(n) if self.fired == 0 && index >= n => {}
            When::Unopened if !self.open.contains(kind) => {}
            When::Nth(_) | When::Unopened => return None,
        }
        self.fired += 1;
        *self.struck.entry(kind.to_string()).or_default() += 1;
        if fault == Fault::Refuse && when == When::Unopened {
            self.down = Some(kind.to_string());
        }
        Some(fault)
    }

    /// Whether nobody shall listen. A plan that refuses from the beginning counts as having struck: what is refused is
    /// not seen.
    fn refuses(&mut self) -> bool {
        match &self.plan {
            Some((Fault::Refuse, When::Unopened)) => self.down.is_some(),
            Some((Fault::Refuse, _)) => {
                self.fired = self.fired.max(1);
                true
            }
            _ => false,
        }
    }
}

#[derive(Clone, Copy)]
struct Place {
    port: u16,
    upstream: u16,
    protocol: Protocol,
}

struct Sockets {
    tcp: TcpListener,
    udp: Option<Arc<UdpSocket>>,
}

impl Sockets {
    async fn bind(place: Place) -> io::Result<Sockets> {
        let tcp = TcpListener::bind(("127.0.0.1", place.port)).await?;
        let udp = match place.protocol {
            Protocol::Dns => Some(Arc::new(UdpSocket::bind(("127.0.0.1", place.port)).await?)),
            _ => None,
        };
        Ok(Sockets { tcp, udp })
    }
}

async fn receive(socket: &Option<Arc<UdpSocket>>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

async fn accept(place: Place, sockets: Sockets, shared: Shared, mut cuts: watch::Receiver<u64>) {
    let mut sockets = Some(sockets);
    let mut buffer = vec![0u8; 4096];
    loop {
        let (refuses, asked) = {
            let mut state = shared.lock();
            (state.refuses(), state.asked)
        };
        if refuses {
            sockets = None;
        } else if sockets.is_none() {
            sockets = Sockets::bind(place).await.ok();
            if sockets.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        }
        shared.lock().done = asked;
        shared.acted.notify_all();
        let Some(open) = &sockets else {
            tokio::select! {
                biased;
                ended = cuts.changed() => if ended.is_err() { return },
                () = shared.turned.notified() => {}
            }
            continue;
        };
        tokio::select! {
            biased;
            ended = cuts.changed() => if ended.is_err() { return },
            () = shared.turned.notified() => {}
            accepted = open.tcp.accept() => if let Ok((client, _)) = accepted {
                let (shared, mut cuts) = (shared.clone(), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let _ = client.set_nodelay(true);
                    tokio::select! {
                        biased;
                        _ = cuts.changed() => {}
                        _ = connection(client, place, &shared) => {}
                    }
                });
            },
            received = receive(&open.udp, &mut buffer) => if let (Ok((length, from)), Some(socket)) = (received, &open.udp) {
                let query = buffer[..length].to_vec();
                tokio::spawn(dns::datagram(socket.clone(), from, query, place.upstream, shared.clone()));
            },
        }
    }
}

async fn connection(client: TcpStream, place: Place, shared: &Shared) -> io::Result<()> {
    match place.protocol {
        Protocol::Http => http::connection(client, place.upstream, shared).await,
        Protocol::Postgres => postgres::connection(client, place.upstream, shared).await,
        Protocol::Memcached => lines::connection(client, place.upstream, shared, lines::MEMCACHED).await,
        Protocol::Smtp => lines::connection(client, place.upstream, shared, lines::SMTP).await,
        Protocol::Dns => dns::connection(client, place.upstream, shared).await,
    }
}

/// Closes with RST instead of FIN: what a crashed server's kernel sends.
fn reset(client: TcpStream) {
    let _ = client.set_zero_linger();
    drop(client);
}
