//! SOGo's address book of users, as webmail and address book programs see it.

use super::{mail::Login, stack::Stack};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Addresses of users.
pub type Users = BTreeSet<String>;

/// What an address book program gets when it lists the book (CardDAV).
pub async fn listed(stack: &Stack, login: Login<'_>) -> Users {
    let url = format!("http://127.0.0.1:{}/SOGo/dav/{}/Contacts/users/", stack.port("SOGO"), login.0);
    let method = Method::from_bytes(b"PROPFIND").expect("a method");
    let request = Client::new().request(method, url).basic_auth(login.0, Some(login.1)).header("Depth", "1");
    let (status, text) = ask(request).await;
    assert_eq!(status, StatusCode::MULTI_STATUS, "{text}");
    let cards = text.split("/Contacts/users/").skip(1).map(|t| t.split('<').next().unwrap_or_default());
    cards.filter(|name| !name.is_empty()).map(|name| name.replace("%40", "@")).collect()
}

/// Whether one card of the book can be fetched by its name.
pub async fn fetched(stack: &Stack, login: Login<'_>, user: &str) -> bool {
    let url = format!("http://127.0.0.1:{}/SOGo/dav/{}/Contacts/users/{user}", stack.port("SOGO"), login.0);
    let (status, text) = ask(Client::new().get(url).basic_auth(login.0, Some(login.1))).await;
    match status.as_u16() {
        200 => text.contains("BEGIN:VCARD"),
        404 => false,
        _ => panic!("SOGo: {status}: {text}"),
    }
}

/// Whether a folder of a user (`Calendar/personal`, `Contacts/personal`) can be opened.
pub async fn opened(stack: &Stack, login: Login<'_>, user: &str, folder: &str) -> bool {
    let url = format!("http://127.0.0.1:{}/SOGo/dav/{user}/{folder}/", stack.port("SOGO"));
    let method = Method::from_bytes(b"PROPFIND").expect("a method");
    let (status, text) =
        ask(Client::new().request(method, url).basic_auth(login.0, Some(login.1)).header("Depth", "1")).await;
    match status.as_u16() {
        207 => true,
        403 | 404 => false,
        _ => panic!("SOGo: {status}: {text}"),
    }
}

async fn ask(request: RequestBuilder) -> (StatusCode, String) {
    let answer = super::dav::answer(request).await;
    (answer.status(), answer.text().await.unwrap_or_default())
}

/// A session of webmail.
pub struct Webmail<'a> {
    stack: &'a Stack,
    user: &'a str,
    cookies: String,
    token: String,
}

impl Webmail<'_> {
    /// Signs in with the form, as a browser does.
    pub async fn open<'a>(stack: &'a Stack, (user, password): Login<'a>) -> Webmail<'a> {
        let url = format!("http://127.0.0.1:{}/SOGo/connect", stack.port("SOGO"));
        let form = json!({"userName": user, "password": password});
        let answer = super::dav::answer(Client::new().post(url).json(&form)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{user} signs in");
        let set = answer.headers().get_all("set-cookie").iter().filter_map(|c| c.to_str().ok());
        let pairs: Vec<String> = set.filter_map(|c| c.split(';').next()).map(|c| c.trim().to_string()).collect();
        let token = pairs.iter().find_map(|c| c.strip_prefix("XSRF-TOKEN=")).unwrap_or_default().to_string();
        Webmail { stack, user, cookies: pairs.join("; "), token }
    }

    async fn get(&self, path: &str, text: &str) -> Value {
        let base = format!("http://127.0.0.1:{}/SOGo/so/{}", self.stack.port("SOGO"), self.user);
        let request = Client::new()
            .get(format!("{base}/{path}?search={}", text.replace(' ', "%20")))
            .header("Cookie", &self.cookies)
            .header("X-XSRF-TOKEN", &self.token);
        let (status, answer) = ask(request).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{path}: {e}: {answer}"))
    }

    /// Who is offered when somebody writes to this text (the `To` line, the search of the address book).
    pub async fn written_to(&self, text: &str) -> Users {
        let found = self.get("Contacts/allContactSearch", text).await;
        all(&found["contacts"], "c_mail")
    }

    /// Who is offered when a calendar is shared or somebody is invited: oneself is not.
    pub async fn invited(&self, text: &str) -> Users {
        let found = self.get("usersSearch", text).await;
        all(&found["users"], "c_email")
    }
}

fn all(list: &Value, key: &str) -> Users {
    let list = list.as_array().unwrap_or_else(|| panic!("a list, not {list}"));
    list.iter().map(|entry| entry[key].as_str().expect("an address").to_string()).collect()
}
