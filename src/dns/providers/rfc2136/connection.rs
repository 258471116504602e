//! One TCP connection to the server: messages go out signed, and answers count only if their signature is good.

use super::message::{Answer, version_query};
use super::tsig::{FUDGE, Key, Unverified};
use crate::{BackendError, Result};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::tsig::TsigError;
use mailtenant_clock::Clock;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long connecting, and each batch of messages, may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// So many messages are sent before their answers are read: what a server holds back while it answers is bounded.
const BATCH: usize = 16;

/// A connection. It is used for one call of the provider.
pub struct Connection<'a> {
    stream: TcpStream,
    key: &'a Key,
    clock: &'a dyn Clock,
    next_id: u16,
}

fn late(_: tokio::time::error::Elapsed) -> BackendError {
    BackendError::unavailable(format!("no answer within {} s", TIMEOUT.as_secs()))
}

/// A message as TCP carries it, after its length. None: it is too long for that.
fn framed(message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    Some([&length.to_be_bytes()[..], message].concat())
}

impl<'a> Connection<'a> {
    /// Connects to `host:port`.
    pub async fn open(server: &str, key: &'a Key, clock: &'a dyn Clock) -> Result<Self> {
        let stream = timeout(TIMEOUT, TcpStream::connect(server)).await.map_err(late)?;
        let stream = stream.map_err(|_| BackendError::unavailable(format!("no connection to {server}")))?;
        // Several small messages are written, and none of them may wait for the answer to another.
        let _ = stream.set_nodelay(true);
        Ok(Connection { stream, key, clock, next_id: 1 })
    }

    /// The answers to these messages, in their order.
    pub async fn ask(&mut self, messages: Vec<Message>) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(messages.len());
        let mut messages = messages.into_iter();
        loop {
            let batch: Vec<Message> = messages.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(answers);
            }
            answers.extend(timeout(TIMEOUT, self.exchange(batch)).await.map_err(late)??);
        }
    }

    /// The answer to one message.
    pub async fn ask_one(&mut self, message: Message) -> Result<Answer> {
        self.ask(vec![message]).await?.pop().ok_or_else(|| BackendError::unavailable("no answer"))
    }

    /// What the server says of its version: it may answer anything or not at all, and signed or not.
    pub async fn version(&mut self) -> Result<Option<Message>> {
        let mut message = version_query()?;
        message.metadata.id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let Ok(query) = message.to_vec() else { return Ok(None) };
        let exchange = async {
            self.stream.write_all(&framed(&query)?).await.ok()?;
            let answer = self.read().await.ok()?;
            Message::from_vec(&answer).ok().filter(|m| m.metadata.id == message.metadata.id)
        };
        Ok(timeout(TIMEOUT, exchange).await.unwrap_or_default())
    }

    async fn read(&mut self) -> std::io::Result<Vec<u8>> {
        let mut answer = vec![0u8; self.stream.read_u16().await?.into()];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    async fn exchange(&mut self, batch: Vec<Message>) -> Result<Vec<Answer>> {
        let time = u64::try_from(self.clock.now().as_second()).unwrap_or(0);
        let first = self.next_id;
        let (mut bytes, mut sent) = (Vec::new(), Vec::new());
        for mut message in batch {
            message.metadata.id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            let kind = message.metadata.op_code;
            let too_long = || BackendError::Rejected("the records do not fit into one DNS message".into());
            let (signed, mac) = self.key.sign(message, time).ok_or_else(too_long)?;
            bytes.extend(framed(&signed).ok_or_else(too_long)?);
            sent.push((kind, mac));
        }
        let broken = |_| BackendError::unavailable("the connection broke off");
        self.stream.write_all(&bytes).await.map_err(broken)?;
        let mut answers: Vec<Option<Answer>> = sent.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            let answer = self.read().await.map_err(broken)?;
            let message = Message::from_vec(&answer)
                .map_err(|_| BackendError::unavailable("the answer is not a DNS message that can be read"))?;
            // In whatever order they come.
            let place = usize::from(message.metadata.id.wrapping_sub(first));
            let (Some((kind, mac)), Some(slot)) = (sent.get(place), answers.get_mut(place)) else {
                return Err(BackendError::unavailable("an answer to another question"));
            };
            if message.metadata.op_code != *kind || slot.is_some() {
                return Err(BackendError::unavailable("an answer to another question"));
            }
            let now = u64::try_from(self.clock.now().as_second()).unwrap_or(0);
            let signed = check(&message, self.key.verify(&answer, mac, now))?;
            *slot = Some(Answer { message, signed });
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

/// Whether an answer counts as signed, as none, or not at all.
///
/// Without a signature two codes are taken (seen on running servers): Knot 3.2 answers REFUSED and NOTAUTH for a zone
/// that it does not have, PowerDNS 4.7 REFUSED to an update with a wrong key. RFC 8945 lets BADKEY and BADSIG be unsigned.
fn check(message: &Message, verified: Result<(), Unverified>) -> Result<bool> {
    let code = message.metadata.response_code;
    let update = message.metadata.op_code == OpCode::Update;
    match verified {
        Ok(()) => Ok(true),
        Err(Unverified::Unsigned) if code == ResponseCode::Refused && update => Err(BackendError::Unauthorized(
            "REFUSED, without a signature: the server does not take this key for the zone or from this address, it has \
             another secret, or the clocks of both sides are more than 300 s apart"
                .into(),
        )),
        Err(Unverified::Unsigned) if matches!(code, ResponseCode::Refused | ResponseCode::NotAuth) => Ok(false),
        Err(Unverified::Unsigned) => Err(BackendError::unavailable(format!("{code}, without a signature"))),
        Err(Unverified::Refused(TsigError::BadKey)) => Err(BackendError::Unauthorized(
            "BADKEY: the server has no TSIG key of this name and algorithm, or its policy does not let it change records \
             of this type"
                .into(),
        )),
        Err(Unverified::Refused(TsigError::BadSig)) => {
            Err(BackendError::Unauthorized("BADSIG: the server has another secret for this TSIG key".into()))
        }
        Err(Unverified::Refused(error)) => {
            Err(BackendError::Unauthorized(format!("TSIG error {}: the server refuses the signature", u16::from(error))))
        }
        Err(Unverified::Clocks(seconds)) => Err(BackendError::Unauthorized(format!(
            "BADTIME: the clocks of the server and of the operator are {seconds} s apart, at most {FUDGE} are allowed: set \
             the one that is wrong"
        ))),
        Err(Unverified::Wrong) => {
            Err(BackendError::unavailable("the answer is not signed with our key: it may be somebody else's"))
        }
    }
}
