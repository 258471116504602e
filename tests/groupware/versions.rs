//! The versions of the servers are told, and a Dovecot of another series is refused by its name.

use crate::stack::Stack;
use mailtenant_groupware::BackendError;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// doveadm's list of commands, as the real one gives it.
async fn commands(stack: &Stack) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let url = format!("http://127.0.0.1:{}/doveadm/v1", stack.port("DOVEADM"));
    let key = format!("X-Dovecot-API {}", STANDARD.encode(stack.value("GW_API_KEY")));
    let answer = reqwest::Client::new().get(url).header("authorization", key).send().await.unwrap();
    answer.text().await.unwrap()
}

/// A server that answers every request with this list. Gives its port.
async fn doveadm(list: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 4096]).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
            let _ = connection.write_all(format!("{head} {}\r\n\r\n{list}", list.len()).as_bytes()).await;
        }
    });
    port
}

#[tokio::test]
async fn versions_are_told_and_another_dovecot_is_refused_by_its_name() {
    let stack = Stack::up();
    let said = stack.sql("groupware").await.text("SHOW server_version").await;
    let number = said.split(' ').next().unwrap().to_owned();
    let info = stack.backend().probe().await.unwrap();
    assert_eq!(info.version, format!("Dovecot 2.3, PostgreSQL {number}"));

    // What 2.4 calls them, in the list that the real server gives.
    let real = commands(&stack).await;
    let list: Value = serde_json::from_str(&real).unwrap();
    assert!(list.as_array().unwrap().len() > 50, "{real}");
    let other = real.replace("\"fsDriver\"", "\"filterName\"");
    assert_ne!(other, real);
    let port = doveadm(other).await;
    let doveadm = json!({"doveadm": {"url": format!("http://127.0.0.1:{port}/doveadm/v1")}});
    let refused = stack.settings(doveadm).connect().unwrap().probe().await;
    let Err(BackendError::Unsupported(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("Dovecot 2.4 or later") && text.contains("2.3"), "{text}");
}
