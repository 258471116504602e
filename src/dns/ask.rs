//! One query to one DNS server: by UDP, and by TCP if the answer was truncated.

use super::{BackendError, Result};
use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType as WireType};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one server may take, UDP and TCP together.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
/// When a query by UDP is sent again: datagrams get lost.
const ASK_AGAIN: Duration = Duration::from_millis(1500);

/// What a query asks of the server besides the records.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Way {
    /// RD: to ask others (RFC 1035, 4.1.1).
    pub recursion: bool,
    /// CD: to answer also with what does not validate (RFC 4035, 3.2.2).
    pub unchecked: bool,
}

impl Way {
    /// For an authoritative server.
    pub const DIRECT: Way = Way { recursion: false, unchecked: false };
    /// For whoever may stand before the authoritative servers.
    pub const RECURSIVE: Way = Way { recursion: true, unchecked: false };
    /// The same, without validation.
    pub const UNCHECKED: Way = Way { recursion: true, unchecked: true };
}

/// Whether a server answered with what it has, or that it has nothing.
pub(crate) fn is_answer(message: &Message) -> bool {
    matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

pub(crate) fn wire_name(name: &str) -> Result<Name> {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.')))
        .map_err(|_| BackendError::Rejected(format!("{name:?} is not a DNS name")))
}

/// One query to one server, by UDP and if need be by TCP.
pub(crate) async fn ask(server: SocketAddr, name: &Name, rtype: WireType, way: Way) -> std::io::Result<Message> {
    let mut query = Query::new();
    query.set_name(name.clone()).set_query_type(rtype);
    let mut message = Message::query();
    message.metadata.recursion_desired = way.recursion;
    message.metadata.checking_disabled = way.unchecked;
    message.add_query(query.clone());
    let id = message.metadata.id;
    let bytes = message.to_vec().map_err(std::io::Error::other)?;
    let fits = move |m: &Message| {
        m.metadata.id == id
            && m.queries.iter().any(|q| q.name() == query.name() && q.query_type() == query.query_type())
    };
    let exchange = async {
        let answer = udp(server, &bytes, &fits).await?;
        if answer.metadata.truncation { tcp(server, &bytes, &fits).await } else { Ok(answer) }
    };
    timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

async fn udp(
    server: SocketAddr,
    question: &[u8],
    fits: &(impl Fn(&Message) -> bool + Sync),
) -> std::io::Result<Message> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    // Connected: only datagrams of this server are received.
    socket.connect(server).await?;
    let mut buffer = vec![0u8; 4096];
    loop {
        socket.send(question).await?;
        let answer = timeout(ASK_AGAIN, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if let Some(answer) = Message::from_vec(&buffer[..length]).ok().filter(|m| fits(m)) {
                    return std::io::Result::Ok(answer);
                }
            }
        });
        if let Ok(answer) = answer.await {
            return answer;
        }
    }
}

async fn tcp(
    server: SocketAddr,
    question: &[u8],
    fits: &(impl Fn(&Message) -> bool + Sync),
) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let mut buffer = vec![0u8; stream.read_u16().await?.into()];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(std::io::Error::other)?;
    if fits(&answer) { Ok(answer) } else { Err(std::io::Error::other("an answer to another question")) }
}
