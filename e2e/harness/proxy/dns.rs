//! DNS over UDP and TCP. A kind of call is a type and the service labels of the name: `TXT _dmarc`.

use super::{Fault, Shared, reset};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// What is asked for, and where the question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut at = 12;
    let mut services = vec![];
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        if label[0] == b'_' {
            services.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        }
    }
    let rtype = match u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?) {
        2 => "NS".to_string(),
        5 => "CNAME".to_string(),
        15 => "MX".to_string(),
        16 => "TXT".to_string(),
        n => format!("TYPE{n}"),
    };
    Some((format!("{rtype} {}", services.join(".")).trim_end().to_string(), at + 4))
}

/// An answer without records.
fn bare(query: &[u8], end: usize, truncated: bool, rcode: u8) -> Vec<u8> {
    let mut out = query[..end].to_vec();
    out[2] = 0x84 | (query[2] & 1) | if truncated { 2 } else { 0 };
    out[3] = rcode;
    out[6..12].fill(0);
    out
}

pub async fn datagram(
    socket: Arc<UdpSocket>,
    from: SocketAddr,
    query: Vec<u8>,
    upstream: u16,
    shared: Arc<super::Inner>,
) {
    let Some((kind, end)) = question(&query) else { return };
    let fault = shared.strike(&kind);
    let answer = match fault {
        None | Some(Fault::ResetInAnswer) => match forward(&query, upstream).await {
            Ok(answer) if fault.is_none() => answer,
            Ok(answer) => answer[..answer.len() / 2].to_vec(),
            Err(_) => return,
        },
        Some(Fault::Rcode(code)) => bare(&query, end, false, code),
        Some(Fault::Truncated) => bare(&query, end, true, 0),
        Some(Fault::Line(text)) => text.as_bytes().to_vec(),
        Some(_) => return,
    };
    let _ = socket.send_to(&answer, from).await;
}

async fn forward(query: &[u8], upstream: u16) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(("127.0.0.1", upstream)).await?;
    socket.send(query).await?;
    let mut answer = vec![0u8; 4096];
    let length = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut answer)).await??;
    answer.truncate(length);
    Ok(answer)
}

pub async fn connection(mut client: TcpStream, upstream: u16, shared: &Shared) -> io::Result<()> {
    let length = client.read_u16().await?;
    let mut query = vec![0u8; usize::from(length)];
    client.read_exact(&mut query).await?;
    let kind = question(&query).map(|(kind, _)| kind).unwrap_or_default();
    if shared.strike(&kind).is_some() {
        reset(client);
        return Ok(());
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    server.write_u16(length).await?;
    server.write_all(&query).await?;
    tokio::io::copy(&mut server, &mut client).await.map(|_| ())
}
