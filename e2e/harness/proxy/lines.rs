//! Protocols in which a line is a call and is answered before the next one matters: memcached's, SMTP.

use super::{Fault, Shared, reset};
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How one of them is told.
#[derive(Clone, Copy)]
pub struct Dialect {
    /// The server speaks first.
    greets: bool,
    /// What a line is for.
    kind: fn(&str) -> String,
    /// Whether more lines of the same answer follow this one.
    goes_on: fn(&str) -> bool,
}

pub const MEMCACHED: Dialect =
    Dialect { greets: false, kind: |line| word(line).to_ascii_lowercase(), goes_on: |_| false };
pub const SMTP: Dialect = Dialect {
    greets: true,
    kind: |line| word(line).to_ascii_uppercase(),
    goes_on: |line| line.as_bytes().get(3) == Some(&b'-'),
};

fn word(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

async fn answer(from: &mut (impl AsyncBufReadExt + AsyncRead + Unpin), dialect: Dialect) -> io::Result<String> {
    let mut all = String::new();
    loop {
        let start = all.len();
        if from.read_line(&mut all).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !(dialect.goes_on)(&all[start..]) {
            return Ok(all);
        }
    }
}

pub async fn connection(client: TcpStream, upstream: u16, shared: &Shared, dialect: Dialect) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
    let mut first = dialect.greets;
    loop {
        let mut line = String::new();
        let kind = if std::mem::take(&mut first) {
            "greeting".to_string()
        } else {
            if client.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            (dialect.kind)(&line)
        };
        let fault = shared.strike(&kind);
        match fault {
            Some(Fault::Hang) => {
                shared.hang(&kind).await;
                reset(client.into_inner());
                return Ok(());
            }
            Some(Fault::Refuse | Fault::ResetBefore) => {
                reset(client.into_inner());
                return Ok(());
            }
            Some(Fault::Close) => return Ok(()),
            Some(Fault::Line(text)) => {
                client.write_all(text.as_bytes()).await?;
                continue;
            }
            _ => {}
        }
        server.write_all(line.as_bytes()).await?;
        let text = answer(&mut server, dialect).await?;
        if fault == Some(Fault::ResetInAnswer) {
            client.write_all(&text.as_bytes()[..text.len() / 2]).await?;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            reset(client.into_inner());
            return Ok(());
        }
        client.write_all(text.as_bytes()).await?;
    }
}
