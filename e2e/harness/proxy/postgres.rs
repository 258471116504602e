//! PostgreSQL's protocol, version 3. A kind of call is the text of a statement; a COMMIT has that of the first write of
//! its transaction with it.

use super::{Fault, Shared, reset};
use bytes::{Buf, BytesMut};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The migration is one statement of many lines: its beginning tells it.
const LONGEST: usize = 4000;

fn text(sql: &str) -> String {
    let text = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() > LONGEST { text.chars().take(80).collect() } else { text }
}

/// What a transaction was begun for.
#[derive(Default)]
struct Transaction(Option<String>);

impl Transaction {
    fn kind(&mut self, sql: &str) -> String {
        let text = text(sql);
        match text.as_str() {
            "BEGIN" => self.0 = None,
            "COMMIT" => return format!("COMMIT of: {}", self.0.take().unwrap_or_default()),
            _ => {
                let writes = ["INSERT", "UPDATE", "DELETE", "CREATE"].iter().any(|w| text.starts_with(w));
                if writes && self.0.is_none() {
                    self.0 = Some(text.clone());
                }
            }
        }
        text
    }
}

/// One message: type and whole length, if it is complete.
fn message(buffer: &BytesMut) -> Option<(u8, usize)> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().ok()?) as usize + 1;
    (buffer.len() >= length).then_some((buffer[0], length))
}

fn c_string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

/// The two sides of a connection, after the startup message.
struct Session {
    client: TcpStream,
    server: TcpStream,
    from_client: BytesMut,
    from_server: BytesMut,
    /// ReadyForQuery messages that the server still owes.
    owed: usize,
    /// Transaction status of the last one: I, T or E.
    status: u8,
}

impl Session {
    /// Hands on what the server has sent.
    async fn relay(&mut self) -> io::Result<()> {
        while let Some((kind, length)) = message(&self.from_server) {
            let bytes = self.from_server.split_to(length);
            if kind == b'Z' {
                (self.status, self.owed) = (bytes[5], self.owed.saturating_sub(1));
            }
            self.client.write_all(&bytes).await?;
        }
        Ok(())
    }

    /// Waits until the server has answered all that was sent before. A client does not: it sends a statement when it
    /// knows that it is prepared, before the end of that answer has come.
    async fn settle(&mut self) -> io::Result<()> {
        loop {
            self.relay().await?;
            if self.owed == 0 {
                return Ok(());
            }
            if self.server.read_buf(&mut self.from_server).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Throws away what the server sends, up to the end of an answer.
    async fn drain(&mut self) -> io::Result<()> {
        loop {
            while let Some((kind, length)) = message(&self.from_server) {
                self.from_server.advance(length);
                if kind == b'Z' {
                    return Ok(());
                }
            }
            if self.server.read_buf(&mut self.from_server).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

pub async fn connection(mut client: TcpStream, upstream: u16, shared: &Shared) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let mut from_client = BytesMut::new();
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
    // It owes one for the startup.
    let mut s = Session { client, server, from_client, from_server: BytesMut::new(), owed: 1, status: b'I' };
    let mut statements = std::collections::BTreeMap::<String, String>::new();
    let mut transaction = Transaction::default();
    // Swallowing up to Sync, after an error that the server knows nothing of.
    let mut swallow = false;
    // The answer to what was forwarded last must not arrive.
    let mut lost = false;
    loop {
        while let Some((kind, length)) = message(&s.from_client) {
            let bytes = s.from_client.split_to(length);
            let payload = &bytes[5..];
            if swallow {
                if kind == b'S' {
                    s.client.write_all(&ready(s.status)).await?;
                    swallow = false;
                }
                continue;
            }
            let sql = match kind {
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
            if let Some(sql) = sql {
                s.settle().await?;
                let call = transaction.kind(&sql);
                match shared.strike(&call) {
                    Some(Fault::Refuse | Fault::ResetBefore) => {
                        reset(s.client);
                        return Ok(());
                    }
                    Some(Fault::Close) => return Ok(()),
                    Some(Fault::Hang) => {
                        shared.hang(&call).await;
                        reset(s.client);
                        return Ok(());
                    }
                    Some(Fault::ResetInAnswer | Fault::LostCommit) => lost = true,
                    Some(Fault::Sql(code)) => {
                        if s.status == b'T' {
                            s.status = b'E';
                            // The server's transaction must fail too: a COMMIT after this would otherwise commit half of it.
                            s.server.write_all(&query("SELECT 1/0")).await?;
                            s.drain().await?;
                        }
                        s.client.write_all(&error_response(code)).await?;
                        if kind == b'Q' {
                            s.client.write_all(&ready(s.status)).await?;
                        } else {
                            swallow = true;
                        }
                        continue;
                    }
                    _ => {}
                }
            }
            if matches!(kind, b'Q' | b'S') {
                s.owed += 1;
            }
            s.server.write_all(&bytes).await?;
            if lost && matches!(kind, b'Q' | b'S') {
                s.drain().await?;
                reset(s.client);
                return Ok(());
            }
        }
        s.relay().await?;
        tokio::select! {
            biased;
            n = s.client.read_buf(&mut s.from_client) => if n? == 0 { return Ok(()) },
            n = s.server.read_buf(&mut s.from_server) => if n? == 0 { return Ok(()) },
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
