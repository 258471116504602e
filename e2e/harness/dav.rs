//! SOGo's DAV as a calendar program sees it.

use super::{mail::Login, stack::Stack};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};

/// Where the stack's SOGo has it.
pub fn url(stack: &Stack) -> String {
    format!("http://127.0.0.1:{}/SOGo/dav", stack.port("SOGO"))
}

/// Sends a request that may be repeated: a worker of SOGo that loses the race for a connection resets it.
pub async fn answer(request: RequestBuilder) -> Response {
    let mut tries = 0;
    loop {
        let again = request.try_clone().expect("a body in memory");
        match again.send().await {
            Ok(answer) => return answer,
            Err(e) if tries == 3 => panic!("SOGo answers: {e:?}"),
            Err(_) => tries += 1,
        }
    }
}

async fn call(
    url: &str,
    method: &str,
    path: &str,
    (user, password): Login<'_>,
    body: Option<(&str, &str)>,
) -> (StatusCode, String) {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request =
        Client::new().request(method, format!("{url}/{path}")).basic_auth(user, Some(password)).header("Depth", "0");
    if let Some((kind, body)) = body {
        request = request.header("Content-Type", kind.to_string()).body(body.to_string());
    }
    let answer = answer(request).await;
    let status = answer.status();
    (status, answer.text().await.unwrap_or_default())
}

/// Whether the sign-in works: a PROPFIND of the user's calendars. Anything but yes (207) and no (401) is a failure.
pub async fn sign_in(stack: &Stack, login: Login<'_>) -> bool {
    sign_in_at(&url(stack), login).await
}

/// As [`sign_in`], at a URL that was told.
pub async fn sign_in_at(url: &str, login: Login<'_>) -> bool {
    let (status, text) = call(url, "PROPFIND", &format!("{}/Calendar/", login.0), login, None).await;
    match status.as_u16() {
        207 => true,
        401 => false,
        _ => panic!("SOGo: {status}: {text}"),
    }
}

/// Puts an appointment into the user's calendar.
pub async fn put_event(stack: &Stack, login: Login<'_>, uid: &str) {
    let event = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260102T100000Z\r\nDTEND:20260102T110000Z\r\nSUMMARY:Meet\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    let path = format!("{}/Calendar/personal/{uid}.ics", login.0);
    let (status, text) = call(&url(stack), "PUT", &path, login, Some(("text/calendar", &event))).await;
    // The second answer is that of a repetition.
    assert!([StatusCode::CREATED, StatusCode::NO_CONTENT].contains(&status), "{status}: {text}");
}

/// Whether an appointment is in the user's calendar.
pub async fn has_event(stack: &Stack, login: Login<'_>, uid: &str) -> bool {
    let path = format!("{}/Calendar/personal/{uid}.ics", login.0);
    let (status, _) = call(&url(stack), "GET", &path, login, None).await;
    status == StatusCode::OK
}
