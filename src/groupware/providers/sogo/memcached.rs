//! SOGo's sign-in cache. SOGo keeps its verdict on a password, the addresses and the rights of a user in memcached under
//! `<login>+attributes` for SOGoCacheCleanupInterval (300 s): meanwhile an old password is taken and a new one refused.

use crate::{Address, BackendError, Result};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(5);
/// The longest key that memcached takes; SOGo cannot have stored a longer one.
const MAX_KEY: usize = 250;

/// Forgets users. Being told "not found" is as good as "deleted".
pub async fn forget(server: &(String, u16), users: &[Address]) -> Result<()> {
    match tokio::time::timeout(LIMIT, talk(server, users)).await {
        Ok(done) => done,
        Err(_) => Err(BackendError::unavailable("memcached did not answer in time")),
    }
}

async fn talk(server: &(String, u16), users: &[Address]) -> Result<()> {
    let keys: Vec<&Address> = users.iter().filter(|u| usable(u)).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let broken = |e: std::io::Error| BackendError::unavailable(format!("memcached: {}", e.kind()));
    let mut stream = TcpStream::connect((server.0.as_str(), server.1)).await.map_err(broken)?;
    let request: String = keys.iter().map(|u| format!("delete {u}+attributes\r\n")).collect();
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    // Both at once: with hundreds of keys neither side's buffer may be waited for.
    let send = async { write.write_all(request.as_bytes()).await.map_err(broken) };
    let receive = async {
        for _ in &keys {
            match lines.next_line().await.map_err(broken)?.as_deref() {
                Some("DELETED" | "NOT_FOUND") => {}
                Some(_) => return Err(BackendError::unavailable("memcached gave an answer that makes no sense")),
                None => return Err(BackendError::unavailable("memcached closed the connection")),
            }
        }
        Ok(())
    };
    tokio::try_join!(biased; send, receive).map(|_| ())
}

fn usable(user: &str) -> bool {
    !user.is_empty() && user.len() + "+attributes".len() <= MAX_KEY && user.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn keys() {
        assert!(usable("alice@acme.test"));
        assert!(!usable("a b@acme.test"));
        assert!(!usable("a\r\nflush_all@acme.test"));
        assert!(!usable(&"a".repeat(245)));
    }

    async fn answer(reply: &'static [u8]) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = ("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let users = ["a@acme.test", "b@acme.test"].map(Address::from_server);
        let (_, result) = tokio::join!(
            async {
                let (mut s, _) = listener.accept().await.unwrap();
                s.write_all(reply).await.unwrap();
                s.shutdown().await.unwrap();
                s
            },
            forget(&server, &users)
        );
        result
    }

    #[tokio::test]
    async fn answers() {
        assert_eq!(answer(b"DELETED\r\nNOT_FOUND\r\n").await, Ok(()));
        for bad in [&b""[..], b"DELETED\r\n", b"ERROR\r\nERROR\r\n", b"SERVER_ERROR out of memory\r\nDELETED\r\n"] {
            assert!(matches!(answer(bad).await, Err(BackendError::Unavailable { .. })), "{bad:?}");
        }
    }
}
