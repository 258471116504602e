//! HTTP/1.1 with Content-Length bodies, one request a connection.

use super::{Fault, Shared, reset};
use bytes::BytesMut;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a request is for, without names: `kick` of doveadm, which has one URL and says its command in the body;
/// `PATCH zone: REPLACE TXT` of PowerDNS.
fn kind(first: &str, body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    if first.contains("/doveadm/") {
        return match (&json[0][0], &json[0][1]["recursive"]) {
            (Value::String(command), Value::Bool(true)) => format!("{command} recursive"),
            (Value::String(command), _) => command.clone(),
            _ => first.to_string(),
        };
    }
    let Some((method, path)) = first.split_once(" /api/v1/servers/localhost") else { return first.to_string() };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query.split_once('=').map(|(name, _)| format!("?{name}")).unwrap_or_default();
    let changes: BTreeSet<String> = json["rrsets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|set| [&set["changetype"], &set["type"]].map(|v| v.as_str().unwrap_or_default()).join(" "))
        .collect();
    let changes: Vec<String> = changes.into_iter().collect();
    match path.trim_end_matches('/') {
        "" => format!("{method} server"),
        "/zones" => format!("{method} zones{query}"),
        _ if changes.is_empty() => format!("{method} zone{query}"),
        _ => format!("{method} zone: {}", changes.join(", ")),
    }
}

pub async fn connection(mut client: TcpStream, upstream: u16, shared: &Shared) -> io::Result<()> {
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
    let kind = kind(text.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1"), &body);
    match shared.strike(&kind) {
        Some(Fault::Hang) => {
            shared.hang(&kind).await;
            reset(client);
        }
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
