//! Asks a mail server whether it takes recipients (I7): EHLO, MAIL FROM:<>, RCPT TO for each, RSET. DATA is never sent,
//! so no mail comes of it. Knows SMTP, nothing of Kubernetes or DNS.

use super::{BackendError, RecipientProbe, Result, Verdict};
use async_trait::async_trait;
use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::ClientId;
use std::collections::VecDeque;
use std::error::Error as _;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Recipients per connection: well below the 100 that every server must take in one transaction (RFC 5321, 4.5.3.1.8).
const BATCH: usize = 50;
/// How long the connection with greeting and EHLO, and each command after it, may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest text of a server that is reported.
const MAX_TEXT: usize = 200;

/// Asks mail servers over the network.
pub struct SmtpProbe {
    hello: ClientId,
    timeout: Duration,
}

impl Default for SmtpProbe {
    /// Sends an address literal in EHLO, as a host without a name does (RFC 5321, 4.1.4).
    fn default() -> Self {
        SmtpProbe { hello: ClientId::Ipv4(std::net::Ipv4Addr::LOCALHOST), timeout: TIMEOUT }
    }
}

impl SmtpProbe {
    /// `hello` is the host name to send in EHLO.
    pub fn new(hello: &str) -> Self {
        SmtpProbe { hello: ClientId::Domain(hello.into()), timeout: TIMEOUT }
    }

    /// The same with another time limit for each step; for tests.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        SmtpProbe { timeout, ..self }
    }

    /// Verdicts for as many of the addresses as one connection gives until `end`, from the first on.
    /// An error: not even one.
    async fn batch(&self, server: &(String, u16), addresses: &[Address], end: Instant) -> Result<Vec<Verdict>> {
        let late = |_| BackendError::unavailable(format!("{}:{} takes too long", server.0, server.1));
        // A time limit of our own: that of the client covers connecting only.
        let connect = AsyncSmtpConnection::connect_tokio1(
            (server.0.as_str(), server.1),
            Some(self.timeout),
            &self.hello,
            None,
            None,
        );
        let connection = timeout(self.timeout, connect).await.map_err(late)?;
        let mut connection = connection.map_err(|e| broken(server, &e))?;
        let mail = timeout(self.timeout, connection.command(Mail::new(None, vec![]))).await.map_err(late)?;
        mail.map_err(|e| broken(server, &e))?;
        let mut verdicts = Vec::new();
        for address in addresses {
            if !verdicts.is_empty() && Instant::now() >= end {
                break;
            }
            let answer = match timeout(self.timeout, connection.command(Rcpt::new(address.clone(), vec![]))).await {
                Err(elapsed) if verdicts.is_empty() => return Err(late(elapsed)),
                Err(_) => return Ok(verdicts),
                Ok(answer) => answer,
            };
            let verdict = match answer {
                Ok(_) => Verdict::Accepted,
                Err(e) => match (e.status().map(u16::from), verdicts.is_empty()) {
                    // 421: the server closes the connection; what is left is for another one.
                    (None | Some(421), true) => return Err(broken(server, &e)),
                    (None | Some(421), false) => return Ok(verdicts),
                    (Some(code), _) => verdict(code, &text_of(&e)),
                },
            };
            verdicts.push(verdict);
        }
        // The verdicts count whatever the server answers to this.
        let _ = timeout(self.timeout, async {
            let _ = connection.command(Rset).await;
            connection.abort().await;
        })
        .await;
        Ok(verdicts)
    }
}

#[async_trait]
impl RecipientProbe for SmtpProbe {
    async fn ask(&self, server: &(String, u16), addresses: &[String], time: Duration) -> Result<Vec<Verdict>> {
        let end = Instant::now() + time;
        // Only addresses are sent: another text could hold a line break, and with it a command.
        let parsed: Vec<Option<Address>> = addresses.iter().map(|a| a.parse().ok().filter(|_| a.is_ascii())).collect();
        let sent: Vec<Address> = parsed.iter().flatten().cloned().collect();
        let mut answers: VecDeque<Verdict> = VecDeque::new();
        while answers.len() < sent.len() && (answers.is_empty() || Instant::now() < end) {
            let batch = &sent[answers.len()..sent.len().min(answers.len() + BATCH)];
            match self.batch(server, batch, end).await {
                // At least one a connection: this ends.
                Ok(verdicts) => answers.extend(verdicts),
                Err(error) if answers.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        let verdict = |address: &Option<Address>| match address {
            Some(_) => answers.pop_front(),
            None => Some(Verdict::Refused("not an address".into())),
        };
        Ok(parsed.iter().map_while(verdict).collect())
    }
}

/// Why there was no transaction. A refusal of EHLO or of the empty sender is about us, not about a recipient.
fn broken(server: &(String, u16), error: &SmtpError) -> BackendError {
    let what = match error.status() {
        Some(code) => format!("answers {code} {}", text_of(error)),
        None if error.is_timeout() => "takes too long".into(),
        None if error.is_response() => "breaks off, or does not speak SMTP".into(),
        None => "does not take connections, or breaks them off".into(),
    };
    BackendError::unavailable(format!("the mail server {}:{} {}", server.0, server.1, what.trim_end()))
}

/// The text of the reply, after the code.
fn text_of(error: &SmtpError) -> String {
    let text = error.source().map(ToString::to_string).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

/// What a refusal means for the recipient.
fn verdict(code: u16, text: &str) -> Verdict {
    // Enhanced status (RFC 3463): x.2.2 is a full mailbox, which would take mail once it is emptied.
    let enhanced = text.split_whitespace().next().unwrap_or_default();
    let full = enhanced.split_once('.').is_some_and(|(class, rest)| matches!(class, "4" | "5") && rest == "2.2");
    let reply = format!("{code} {text}").trim_end().to_string();
    match code {
        _ if full => Verdict::Accepted,
        // Without an enhanced code 552 is "exceeded storage allocation" (RFC 5321, 4.2.2).
        552 => Verdict::Accepted,
        500..=599 => Verdict::Refused(reply),
        _ => Verdict::Later(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        for (code, text, want) in [
            (550, "5.1.1 <x@acme.test>: Recipient address rejected", "Refused"),
            (554, "5.7.1 Relay access denied", "Refused"),
            (552, "5.2.2 Mailbox full", "Accepted"),
            (552, "", "Accepted"),
            (550, "5.2.2 over quota", "Accepted"),
            (452, "4.2.2 Mailbox full", "Accepted"),
            (452, "4.3.1 Insufficient system storage", "Later"),
            (452, "", "Later"),
            (451, "4.7.1 Greylisted", "Later"),
            (450, "4.1.1 unverified", "Later"),
            (550, "5.2.21 other", "Refused"),
        ] {
            let got = match verdict(code, text) {
                Verdict::Accepted => "Accepted",
                Verdict::Refused(_) => "Refused",
                Verdict::Later(_) => "Later",
            };
            assert_eq!(got, want, "{code} {text}");
        }
        assert_eq!(verdict(550, "5.1.1 no"), Verdict::Refused("550 5.1.1 no".into()));
    }
}
