//! Dovecot's doveadm over HTTP: home of a user, end of sessions, the auth cache, removal of files.
//! It answers HTTP 200 also for failures, with an exit code of sysexits inside. The key is root on the mail store.

use crate::{BackendError, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailtenant_backend::limit::Limit;
use mailtenant_backend::secret::SecretText;
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// EX_NOUSER: the user database does not know the user.
const NO_USER: i64 = 67;
/// DOVEADM_EX_NOTFOUND: nothing that matches (no session, no file).
const NOT_FOUND: i64 = 68;
/// Whatever the server says, its objects are looked at again after this time.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// doveadm's HTTP API, within the backend's limit of requests.
pub struct Doveadm {
    http: reqwest::Client,
    url: String,
    authorization: HeaderValue,
    limit: Arc<Limit>,
}

/// What a command ended with.
#[derive(Debug, PartialEq)]
enum Answer {
    Done(Value),
    Exit(i64),
}

impl Doveadm {
    /// Nothing is sent yet. `roots`: PEM certificates that are trusted beside the system's.
    pub fn new(url: &str, key: &SecretText, roots: Option<&SecretText>, limit: Arc<Limit>) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(pem) = roots {
            let certs = reqwest::Certificate::from_pem_bundle(pem.expose().as_bytes())
                .map_err(|_| BackendError::Rejected("ca.crt holds no PEM certificate".into()))?;
            builder = builder.tls_certs_merge(certs);
        }
        let http = builder.build().map_err(|_| BackendError::Rejected("doveadm: no HTTP client can be made".into()))?;
        let mut authorization =
            HeaderValue::from_str(&format!("X-Dovecot-API {}", STANDARD.encode(key.expose().trim())))
                .map_err(|_| BackendError::Rejected("doveadm: the API key cannot be sent".into()))?;
        authorization.set_sensitive(true);
        Ok(Doveadm { http, url: url.to_owned(), authorization, limit })
    }

    async fn body(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        self.limit.wait().await;
        let request = request.header(AUTHORIZATION, self.authorization.clone());
        let answer = request.send().await.map_err(|e| no_answer(&e))?;
        let status = answer.status();
        check_status(status.as_u16(), retry_after(answer.headers().get(RETRY_AFTER)))?;
        let body = answer.bytes().await.map_err(|e| no_answer(&e))?;
        serde_json::from_slice(&body).map_err(|_| BackendError::unavailable("doveadm: the answer is not JSON"))
    }

    /// Whether it is there, takes our key and knows the commands that we use; its series of versions.
    pub async fn probe(&self) -> Result<&'static str> {
        series(&self.body(self.http.get(&self.url)).await?)
    }

    async fn call(&self, command: &str, params: Value) -> Result<Answer> {
        let body = self.body(self.http.post(&self.url).json(&json!([[command, params, "m"]]))).await?;
        parse(command, &body)
    }

    async fn done(&self, command: &str, params: Value) -> Result<Value> {
        match self.call(command, params).await? {
            Answer::Done(v) => Ok(v),
            Answer::Exit(code) => Err(exit_error(command, code)),
        }
    }

    /// Home folder of a user; none: Dovecot does not know the user (or not any more).
    pub async fn home(&self, user: &str) -> Result<Option<String>> {
        match self.call("user", json!({"userMask": [user]})).await? {
            Answer::Exit(NO_USER) => Ok(None),
            Answer::Exit(code) => Err(exit_error("user", code)),
            Answer::Done(v) => {
                let home = v.get(user).and_then(|u| u.get("home")).and_then(Value::as_str);
                home.map(|h| Some(h.to_owned()))
                    .ok_or_else(|| BackendError::unavailable("doveadm: user has no home in the answer"))
            }
        }
    }

    /// Ends all sessions of a user. It takes effect a moment later: [`Doveadm::sessions`].
    pub async fn kick(&self, user: &str) -> Result<()> {
        match self.call("kick", json!({"mask": [user]})).await? {
            Answer::Done(_) | Answer::Exit(NOT_FOUND) => Ok(()),
            Answer::Exit(code) => Err(exit_error("kick", code)),
        }
    }

    /// Whether a user has open sessions.
    pub async fn sessions(&self, user: &str) -> Result<bool> {
        match self.call("who", json!({"mask": [user]})).await? {
            Answer::Exit(NOT_FOUND) => Ok(false),
            Answer::Exit(code) => Err(exit_error("who", code)),
            Answer::Done(Value::Array(list)) => Ok(!list.is_empty()),
            Answer::Done(_) => Err(BackendError::unavailable("doveadm: who gave no list")),
        }
    }

    /// Forgets what the auth cache has of a user, good and bad.
    pub async fn flush(&self, user: &str) -> Result<()> {
        self.done("authCacheFlush", json!({"user": [user]})).await.map(|_| ())
    }

    /// Whether a path exists.
    pub async fn exists(&self, path: &str) -> Result<bool> {
        match self.call("fsStat", json!({"fsDriver": "posix", "fsArgs": "", "path": path})).await? {
            Answer::Done(_) => Ok(true),
            Answer::Exit(NOT_FOUND) => Ok(false),
            Answer::Exit(code) => Err(exit_error("fsStat", code)),
        }
    }

    async fn delete(&self, path: &str, recursive: bool) -> Result<()> {
        let path = if recursive { format!("{path}/") } else { path.to_owned() };
        let params = json!({"recursive": recursive, "fsDriver": "posix", "fsArgs": "", "path": [path]});
        match self.call("fsDelete", params).await? {
            Answer::Done(_) | Answer::Exit(NOT_FOUND) => Ok(()),
            Answer::Exit(code) => Err(exit_error("fsDelete", code)),
        }
    }

    async fn folders(&self, path: &str) -> Result<Vec<String>> {
        let v = self.done("fsIterDirs", json!({"fsDriver": "posix", "fsArgs": "", "path": path})).await?;
        let list = v.as_array().ok_or_else(|| BackendError::unavailable("doveadm: fsIterDirs gave no list"))?;
        list.iter()
            .map(|d| {
                let name = d.get("path").and_then(Value::as_str).unwrap_or_default();
                if name.is_empty() || name == "." || name == ".." || name.contains('/') {
                    return Err(BackendError::unavailable("doveadm: fsIterDirs gave something that is no folder name"));
                }
                Ok(format!("{path}/{name}"))
            })
            .collect()
    }

    /// Destroys a folder with all that is in it, and sees that it is gone.
    ///
    /// A recursive fsDelete removes the files and leaves the folders; a folder goes by a plain one, once it is empty.
    pub async fn destroy(&self, root: &str) -> Result<()> {
        self.delete(root, true).await?;
        let mut stack = vec![(root.to_owned(), false)];
        while let Some((path, seen)) = stack.pop() {
            if seen {
                self.delete(&path, false).await?;
            } else {
                let below = self.folders(&path).await?;
                stack.push((path, true));
                stack.extend(below.into_iter().map(|p| (p, false)));
            }
        }
        if self.exists(root).await? {
            return Err(BackendError::Conflict("files came while the mailbox was destroyed: once more".into()));
        }
        Ok(())
    }
}

/// Commands that are sent.
const COMMANDS: [&str; 7] = ["user", "kick", "who", "authCacheFlush", "fsDelete", "fsIterDirs", "fsStat"];

/// The series of Dovecot's versions, by the list of its commands: doveadm's HTTP API does not say a version. Refused is
/// one whose commands take other parameters than we send.
fn series(list: &Value) -> Result<&'static str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let command = |name: &str| list.iter().find(|c| c.get("command").is_some_and(|command| command == name));
    if !list.iter().any(|c| c.get("command").is_some_and(Value::is_string)) {
        return Err(BackendError::unavailable("doveadm: the answer is not a list of commands"));
    }
    if let Some(missing) = COMMANDS.iter().find(|name| command(name).is_none()) {
        return Err(BackendError::Unsupported(format!("doveadm has no command {missing}")));
    }
    let takes = |parameter: &str| {
        let parameters = command("fsStat").and_then(|c| c.get("parameters")?.as_array());
        parameters.into_iter().flatten().any(|p| p.get("name").is_some_and(|name| name == parameter))
    };
    // 2.3 has new statistics. The commands of the former ones have another name there (`oldstatsTop`), or are not built in.
    let old_statistics = ["statsTop", "statsReset"].into_iter().any(|name| command(name).is_some());
    let version = match (takes("fsDriver"), takes("filterName")) {
        (true, false) if !old_statistics => return Ok("2.3"),
        (true, false) => "Dovecot 2.2",
        (false, true) => "Dovecot 2.4 or later",
        _ => "an unknown version of Dovecot",
    };
    Err(BackendError::Unsupported(format!(
        "this is {version}, whose doveadm takes other commands than those of 2.3, which this release knows"
    )))
}

fn no_answer(e: &reqwest::Error) -> BackendError {
    // reqwest's own text holds the URL, which is no secret, but may hold a user and password given in it.
    let what = match e {
        _ if e.is_timeout() => "no answer in time",
        _ if e.is_connect() => "no connection",
        _ => "the answer broke off",
    };
    BackendError::unavailable(format!("doveadm: {what}"))
}

fn exit_error(command: &str, code: i64) -> BackendError {
    BackendError::unavailable(format!("doveadm: {command} ended with exit code {code}"))
}

/// Seconds of a Retry-After, at most [`LONGEST_WAIT`].
fn retry_after(value: Option<&HeaderValue>) -> Option<Duration> {
    let seconds: u64 = value?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

fn check_status(status: u16, retry_after: Option<Duration>) -> Result<()> {
    match status {
        200 => Ok(()),
        401 | 403 => Err(BackendError::Unauthorized(format!("doveadm: HTTP {status}"))),
        _ => Err(BackendError::Unavailable { message: format!("doveadm: HTTP {status}"), retry_after }),
    }
}

/// `[["doveadmResponse",VALUE,"m"]]` or `[["error",{"type":"exitCode","exitCode":67},"m"]]`.
fn parse(command: &str, body: &Value) -> Result<Answer> {
    let nonsense = || BackendError::unavailable(format!("doveadm: the answer to {command} makes no sense"));
    let [one] = body.as_array().ok_or_else(nonsense)?.as_slice() else { return Err(nonsense()) };
    let [kind, value, tag] = one.as_array().ok_or_else(nonsense)?.as_slice() else { return Err(nonsense()) };
    if tag.as_str() != Some("m") {
        return Err(nonsense());
    }
    match kind.as_str() {
        Some("doveadmResponse") => Ok(Answer::Done(value.clone())),
        Some("error") => match (value.get("type").and_then(Value::as_str), value.get("exitCode")) {
            (Some("exitCode"), Some(code)) => Ok(Answer::Exit(code.as_i64().ok_or_else(nonsense)?)),
            (Some("unknownMethod"), _) => Err(BackendError::Unsupported(format!("doveadm has no command {command}"))),
            _ => Err(nonsense()),
        },
        _ => Err(nonsense()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let p = |s: &str| parse("kick", &serde_json::from_str(s).unwrap());
        assert_eq!(p(r#"[["doveadmResponse",[{"entries":"0"}],"m"]]"#), Ok(Answer::Done(json!([{"entries": "0"}]))));
        assert_eq!(p(r#"[["error",{"type":"exitCode","exitCode":68},"m"]]"#), Ok(Answer::Exit(68)));
        assert!(matches!(
            p(r#"[["error",{"type":"unknownMethod","exitCode":0},"m"]]"#),
            Err(BackendError::Unsupported(_))
        ));
        for bad in [
            "{}",
            "[]",
            "null",
            r#"[["doveadmResponse",[]]]"#,
            r#"[["doveadmResponse",[],"x"]]"#,
            r#"[["other",[],"m"]]"#,
            r#"[["error",{"type":"exitCode"},"m"]]"#,
            r#"[["error",{},"m"]]"#,
            r#"[["doveadmResponse",[],"m"],["doveadmResponse",[],"m"]]"#,
        ] {
            assert!(matches!(p(bad), Err(BackendError::Unavailable { .. })), "{bad}");
        }
    }

    #[test]
    fn the_series_is_told_by_what_commands_take() {
        let list = |fs: &[&str], more: &[&str]| {
            let parameters: Vec<Value> = fs.iter().map(|name| json!({"name": name, "type": "string"})).collect();
            let command = |name: &&str| json!({"command": name, "parameters": parameters});
            Value::Array(COMMANDS.iter().chain(more).map(command).collect())
        };
        let known = ["fsDriver", "fsArgs", "path"];
        for statistics in [&["statsDump", "oldstatsDump", "oldstatsTop"][..], &["statsDump"], &[]] {
            assert_eq!(series(&list(&known, statistics)), Ok("2.3"), "{statistics:?}");
        }
        for (list, named) in [
            (list(&known, &["statsDump", "statsTop", "statsReset"]), "this is Dovecot 2.2,"),
            (list(&["filterName", "path"], &[]), "this is Dovecot 2.4 or later,"),
            (list(&["path"], &["oldstatsDump"]), "this is an unknown version of Dovecot,"),
            (json!([{"command": "user"}, {"command": "kick"}]), "doveadm has no command who"),
        ] {
            let Err(BackendError::Unsupported(text)) = series(&list) else { panic!("{named}") };
            assert!(text.starts_with(named), "{text}");
        }
        for nonsense in [json!({}), json!([]), json!([1, {"command": 2}]), Value::Null] {
            assert!(matches!(series(&nonsense), Err(BackendError::Unavailable { .. })), "{nonsense}");
        }
    }

    #[test]
    fn waits() {
        let wait = |text: &'static str| retry_after(Some(&HeaderValue::from_static(text))).map(|d| d.as_secs());
        assert_eq!([wait("7"), wait(" 3600 "), wait("3601")], [Some(7), Some(3600), Some(3600)]);
        assert_eq!(wait("18446744073709551615"), Some(3600));
        assert_eq!([wait("18446744073709551616"), wait("-1"), wait("Sun, 01 Nov 2026 10:00:00 GMT")], [None; 3]);
        assert_eq!(retry_after(None), None);
    }

    #[test]
    fn statuses() {
        assert_eq!(check_status(200, None), Ok(()));
        assert!(matches!(check_status(401, None), Err(BackendError::Unauthorized(_))));
        assert!(matches!(check_status(403, None), Err(BackendError::Unauthorized(_))));
        let wait = Some(Duration::from_secs(7));
        let Err(BackendError::Unavailable { retry_after, .. }) = check_status(429, wait) else { panic!() };
        assert_eq!(retry_after, wait);
        for s in [204, 301, 400, 404, 500, 502, 503] {
            assert!(matches!(check_status(s, None), Err(BackendError::Unavailable { .. })), "{s}");
        }
    }
}
