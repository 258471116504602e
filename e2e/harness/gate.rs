//! A mail server that says what a test wants it to say about recipients: in the place of `delivery`.

use super::stack::Stack;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct State {
    refused: BTreeSet<String>,
    taken: BTreeSet<String>,
}

/// It listens from [`Gate::open`] on; before that connections are refused.
pub struct Gate {
    /// Where, on 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Gate {
    /// A port that nobody listens on yet.
    pub fn closed(stack: &Stack) -> Gate {
        Gate { port: stack.free_port(), state: Arc::default() }
    }

    /// From now on it answers. On a thread of its own: tests' runtimes come and go.
    pub fn open(&self) {
        let listener = std::net::TcpListener::bind(("127.0.0.1", self.port)).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket");
        let state = self.state.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a socket");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(session(stream, state.clone()));
                }
            });
        });
    }

    /// It knows nobody of this address.
    pub fn refuse(&self, address: &str) {
        self.state.lock().expect("no poison").refused.insert(address.into());
    }

    /// It knows everybody.
    pub fn accept(&self) {
        self.state.lock().expect("no poison").refused.clear();
    }

    /// Addresses that it said yes to.
    pub fn taken(&self) -> BTreeSet<String> {
        self.state.lock().expect("no poison").taken.clone()
    }
}

async fn session(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 gate.test ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let address = line.split_once('<').and_then(|(_, r)| r.split_once('>')).map(|(a, _)| a.to_string());
        let answer = match (line.get(..4).unwrap_or_default(), address) {
            ("RCPT", Some(address)) => {
                let mut state = state.lock().expect("no poison");
                if state.refused.contains(&address) {
                    "550 5.1.1 nobody of that name"
                } else {
                    state.taken.insert(address);
                    "250 2.1.5 ok"
                }
            }
            ("DATA", _) => panic!("a probe sends no mail"),
            _ => "250 2.0.0 ok",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}
