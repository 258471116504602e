//! What looks like a secret, in the forms that messages, annotations and logs have.

use super::*;
use serde_json::json;

/// What is written, and what of it stays. `HUSH` is a part of a secret.
const SECRETS: &[(&str, &str)] = &[
    // Of logs.
    ("password=HUSH", "password=[redacted]"),
    ("password=HUSH;HUSH x", "password=[redacted] x"),
    ("password=HUSH,HUSH&HUSH x", "password=[redacted] x"),
    ("bad password: HUSH x", "bad password: [redacted] x"),
    ("PGPASSWORD=HUSH y", "PGPASSWORD=[redacted] y"),
    ("password='HUSH;HUSH' y", "password='[redacted]' y"),
    (r"password='HUSH'\''HUSH' y", "password='[redacted]'[redacted] y"),
    ("password=\"HUSH HUSH\" y", "password=\"[redacted]\" y"),
    ("password=\"HUSH HUSH", "password=\"[redacted]"),
    (r#"15" of password="HUSH" y"#, r#"15" of password="[redacted]" y"#),
    ("mysql --password HUSH --user x", "mysql --password [redacted] --user x"),
    ("mysql --password=HUSH --user x", "mysql --password=[redacted] --user x"),
    ("api_key=HUSH", "api_key=[redacted]"),
    ("X-API-Key: HUSH\nb", "X-API-Key: [redacted]\nb"),
    ("GET /a?access_token=HUSH x", "GET /a?access_token=[redacted] x"),
    ("sent Authorization: Bearer HUSH x", "sent Authorization: Bearer [redacted] x"),
    ("with bearer HUSH", "with bearer [redacted]"),
    ("Authorization: Basic HUSH", "Authorization: [redacted]"),
    ("Set-Cookie: session=HUSH; Path=/", "Set-Cookie: [redacted]"),
    ("got eyJhbGciOiJub25lIn0.eyJIVVNIIjoxfQ.HUSH here", "got [redacted] here"),
    // Of JSON.
    (r#"{"password":"HUSH","a":"b"}"#, r#"{"password":"[redacted]","a":"b"}"#),
    (r#"{"password": "HUSH;HUSH", "a": 1}"#, r#"{"password": "[redacted]", "a": 1}"#),
    (r#"{"password":"HUSH\"HUSH\\","a":"b"}"#, r#"{"password":"[redacted]","a":"b"}"#),
    (r#"{"accessToken":"HUSH","clientSecret":"HUSH"}"#, r#"{"accessToken":"[redacted]","clientSecret":"[redacted]"}"#),
    (r#"{"passphrase":"HUSH","keyPassphrase":"HUSH"}"#, r#"{"passphrase":"[redacted]","keyPassphrase":"[redacted]"}"#),
    (r#"{"secret":4711,"a":"b"}"#, r#"{"secret":[redacted],"a":"b"}"#),
    (r#"{"secret":["HUSH","HUSH"],"a":"b"}"#, r#"{"secret":[redacted],"a":"b"}"#),
    (r#"{"m":"login with password=HUSH;HUSH","a":"b"}"#, r#"{"m":"login with password=[redacted]","a":"b"}"#),
    (r#"{"m":"password=\"HUSH HUSH\" x","a":"b"}"#, r#"{"m":"password=\"[redacted]\" x","a":"b"}"#),
    (r#"{"m":"{\"password\":\"HUSH\\\"HUSH\",\"a\":1}"}"#, r#"{"m":"{\"password\":\"[redacted]\",\"a\":1}"}"#),
    (r#"{"m":"a: b\npassword: HUSH HUSH\nc: d"}"#, r#"{"m":"a: b\npassword: [redacted]\nc: d"}"#),
    (r#"{"m":"a: b\napi-key: HUSH\nc: d"}"#, r#"{"m":"a: b\napi-key: [redacted] d"}"#),
    (r#"{"m":"a: b\npassword: |\n  HUSH\n  HUSH","c":"d"}"#, r#"{"m":"a: b\npassword: [redacted]","c":"d"}"#),
    ("{\n  \"password\": \"HUSH\",\n  \"a\": 1\n}\n", "{\n  \"password\": \"[redacted]\",\n  \"a\": 1\n}\n"),
    ("{\n  \"token\": [\n    \"HUSH\"\n  ],\n  \"a\": 1\n}\n", "{\n  \"token\": [redacted]\n  ],\n  \"a\": 1\n}\n"),
    // Of YAML.
    ("password: HUSH HUSH; HUSH # HUSH\na: b\n", "password: [redacted]\na: b\n"),
    ("- clientSecret: HUSH\n  a: b\n", "- clientSecret: [redacted]\n  a: b\n"),
    ("password: 'HUSH''HUSH'\na: b\n", "password: '[redacted]'\na: b\n"),
    ("password: \"HUSH\\\"HUSH\"\na: b\n", "password: \"[redacted]\"\na: b\n"),
    ("a:\n  password: |\n    HUSH\n\n    HUSH\n  b: c\n", "a:\n  password: |\n    [redacted]\n\n  b: c\n"),
    ("password: >-\n  HUSH\n   HUSH\nb: c\n", "password: >-\n  [redacted]\nb: c\n"),
    ("token: !!binary |2 # x\n   HUSH\nb: c\n", "token: !!binary |2 # x\n   [redacted]\nb: c\n"),
    ("- password: |\n    HUSH\n  b: c\n", "- password: |\n    [redacted]\n  b: c\n"),
    ("password:\n  HUSH HUSH\n  HUSH\nb: c\n", "password:\n  [redacted]\nb: c\n"),
    ("password: \"HUSH\n  HUSH\"\nb: c\n", "password: \"[redacted]\nb: c\n"),
    ("a: |\n  password: HUSH\n  b: c\n", "a: |\n  password: [redacted]\n  b: c\n"),
    ("client-key-data: HUSH\n", "client-key-data: [redacted]\n"),
    // Of addresses.
    ("postgres://mail:HUSH@db:5432/mail", "postgres://[redacted]@db:5432/mail"),
    ("postgres://mail:HUSH@HUSH@db/mail x@y", "postgres://[redacted]@db/mail x@y"),
    ("postgres://mail:HUSH/HUSH;HUSH@db/mail", "postgres://[redacted]@db/mail"),
    (r#"{"url":"https://:HUSH,HUSH@db/"}"#, r#"{"url":"https://[redacted]@db/"}"#),
    // Of hashes and keys.
    ("hash is $argon2id$v=19$m=65536,t=3,p=1$HUSH$HUSH x", "hash is [redacted] x"),
    ("\"{SHA512-CRYPT}$6$HUSH$HUSH\", \"b\"", "\"[redacted]\", \"b\""),
    ("{PLAIN}HUSH;HUSH x", "[redacted] x"),
    ("a\n-----BEGIN RSA PRIVATE KEY-----\nHUSH\n-----END RSA PRIVATE KEY-----\nb\n", "a\n[redacted]\nb\n"),
    (r#"{"key":"-----BEGIN PRIVATE KEY-----\nHUSH\n-----END PRIVATE KEY-----\n"}"#, "[redacted]\n"),
];

const HARMLESS_TEXTS: &[&str] = &[
    "{\"level\":\"INFO\",\"message\":\"starting\",\"pass\":12}\n",
    "{\"password\":null,\"secret\":\"\",\"a\":{\"token\":false}}\n",
    "GroupwareBackend berlin: connection refused (10.0.0.1:5432)",
    "Secret mailtenant-system/pdns is not there: create it",
    "{\"message\":\"this is the wrong password:\",\"object\":\"Mailbox t/alice\"}",
    "credentialsSecret: alice-mail\n  apiKeySecretRef: {name: pdns, key: apiKey}\n  password:\n    generate: {length: 24}\n",
    "    password: {}\n    token: null\n",
    "mailtenant.dev/rotate-password: \"7\"\nlastHandledRotatePassword: \"7\"\n",
    "https://webmail.example.net/SOGo alice@acme.test 10 mx1.example.net.",
    "https://host:8443/?from=a@b.test and ssh://git@host/x",
    "v=DKIM1; k=rsa; p=MIIBIjANBg",
    "it's 5 o'clock: user's \"text\" ü 'x'\n",
    "a \\ b \\\\ \"c\\\\\" {x} [y] $z\n",
    "before\n\nafter\n",
    "",
];

#[test]
fn what_looks_like_a_secret_does_not_stay() {
    for (text, wanted) in SECRETS {
        let shown = redact(text);
        assert!(!shown.contains("HUSH"), "{text}\n{shown}");
        assert_eq!(shown, *wanted, "{text}");
    }
}

#[test]
fn fields_of_a_value_go_by_their_names() {
    let mut value = json!({"password": "HUSH", "credentialsSecret": "alice-mail", "a": ["x", "token=HUSH"], "n": 1,
        "accessToken": ["HUSH", 4711], "secret": {"name": "s", "password": ""}, "token": null,
        "note": "Authorization: Bearer\n  HUSH", "passphrase": "HUSH\nHUSH"});
    redact_value(&mut value);
    let wanted = json!({"password": REDACTED, "credentialsSecret": "alice-mail", "a": ["x", "token=[redacted]"], "n": 1,
        "accessToken": [REDACTED, REDACTED], "secret": {"name": "s", "password": ""}, "token": null,
        "note": "Authorization: [redacted]\n", "passphrase": REDACTED});
    assert_eq!(value, wanted);
}

#[test]
fn all_else_stays_as_it_is() {
    for text in HARMLESS_TEXTS {
        assert_eq!(redact(text), *text);
    }
}

/// Whatever a text has, it is taken, in pieces of any form.
#[test]
fn any_text_is_taken() {
    let parts =
        ["password", "\"", "\\", "'", ":", "=", " ", "\n", "|", "{", "[", "]", "ü", "://", "@", "$6$", "--", "}", ","];
    // A linear congruential generator (Knuth): the same texts each time.
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += parts[usize::try_from(state >> 33).unwrap_or_default() % parts.len()];
        }
        redact(&text);
    }
}
