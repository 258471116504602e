//! The outside world as far as mail is concerned: an SMTP server that takes whatever leaves for other domains, and keeps it.

use super::stack::Stack;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One message that left.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Envelope sender.
    pub from: String,
    /// Envelope recipients.
    pub to: Vec<String>,
    /// The message.
    pub data: String,
}

type Kept = Arc<Mutex<Vec<Outgoing>>>;

/// What left the shared stack for other domains. Listens from the first call on, on a thread of its own: tests' runtimes
/// come and go.
pub fn outside(stack: &'static Stack) -> &'static Mutex<Vec<Outgoing>> {
    static KEPT: OnceLock<Kept> = OnceLock::new();
    KEPT.get_or_init(|| {
        let kept = Kept::default();
        let listener = std::net::TcpListener::bind(("127.0.0.1", stack.port("SINK"))).expect("the sink's port is free");
        listener.set_nonblocking(true).expect("a socket");
        let keep = kept.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a socket");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(session(stream, keep.clone()));
                }
            });
        });
        kept
    })
}

async fn session(stream: TcpStream, kept: Kept) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut mail = Outgoing { from: String::new(), to: vec![], data: String::new() };
    write.write_all(b"220 sink.test ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let address = || line.split_once('<').and_then(|(_, r)| r.split_once('>')).map(|(a, _)| a.to_string());
        let answer = match line.get(..4).unwrap_or(&line).to_ascii_uppercase().as_str() {
            "MAIL" => {
                mail = Outgoing { from: address().unwrap_or_default(), to: vec![], data: String::new() };
                "250 ok"
            }
            "RCPT" => {
                mail.to.extend(address());
                "250 ok"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                    mail.data.push_str("\r\n");
                }
                kept.lock().expect("no poison").push(mail.clone());
                "250 kept"
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 ok",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}
