//! The DNS server's data, read and written past the operator.

use super::stack::Stack;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// All records of a zone: `(name, type)` to TTL and contents as the server has them.
pub type Zone = BTreeMap<(String, String), (u64, Vec<String>)>;

fn url(stack: &Stack, zone: &str) -> String {
    format!(
        "{}/api/v1/servers/localhost/zones{}{zone}{}",
        stack.get("PDNS_API"),
        if zone.is_empty() { "" } else { "/" },
        if zone.is_empty() { "" } else { "." }
    )
}

/// PowerDNS on SQLite answers 500 to a change while another zone is being changed (measured: 183 of 480 with 8 writers).
/// The operator has one writer a server; a test is one more, and so is each proxy.
async fn call(stack: &Stack, request: reqwest::RequestBuilder) -> Value {
    let request = request.header("X-API-Key", stack.get("PDNS_KEY"));
    super::eventually("PowerDNS takes it", super::secs(20), || async {
        let answer = request.try_clone().expect("a request").send().await.expect("PowerDNS answers");
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        assert!(status.is_success() || status.as_u16() == 500, "PowerDNS: {status}: {text}");
        if status.is_success() { Ok(serde_json::from_str(&text).unwrap_or(Value::Null)) } else { Err(text) }
    })
    .await
}

/// Makes a zone with records that belong to somebody else.
pub async fn create_zone(stack: &Stack, name: &str) {
    let foreign = json!([
        {"name": format!("{name}."), "type": "TXT", "ttl": 300, "records": [{"content": "\"site-verification=4711\"", "disabled": false}]},
        {"name": format!("{name}."), "type": "A", "ttl": 1800, "records": [{"content": "192.0.2.10", "disabled": false}]},
        {"name": format!("www.{name}."), "type": "CNAME", "ttl": 60, "records": [{"content": format!("{name}."), "disabled": false}]},
    ]);
    let body = json!({"name": format!("{name}."), "kind": "Native", "nameservers": [format!("ns1.{name}.")], "rrsets": foreign});
    call(stack, reqwest::Client::new().post(url(stack, "")).json(&body)).await;
}

/// Replaces one set of records; no contents: deletes it.
pub async fn put(stack: &Stack, zone: &str, name: &str, rtype: &str, ttl: u64, contents: &[&str]) {
    let records: Vec<_> = contents.iter().map(|c| json!({"content": c, "disabled": false})).collect();
    let change = if contents.is_empty() { "DELETE" } else { "REPLACE" };
    let set = json!({"name": format!("{name}."), "type": rtype, "ttl": ttl, "changetype": change, "records": records});
    call(stack, reqwest::Client::new().patch(url(stack, zone)).json(&json!({"rrsets": [set]}))).await;
}

/// Everything in a zone but the SOA, whose serial counts changes.
pub async fn snapshot(stack: &Stack, zone: &str) -> Zone {
    let all = call(stack, reqwest::Client::new().get(url(stack, zone))).await;
    let mut out = Zone::new();
    for set in all["rrsets"].as_array().cloned().unwrap_or_default() {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
        if set["type"] == "SOA" {
            continue;
        }
        let mut contents: Vec<_> =
            set["records"].as_array().map(|r| r.iter().map(|r| text(&r["content"])).collect()).unwrap_or_default();
        contents.sort();
        out.insert((text(&set["name"]), text(&set["type"])), (set["ttl"].as_u64().unwrap_or(0), contents));
    }
    out
}

/// Contents of one set; empty: there is none.
pub async fn contents(stack: &Stack, zone: &str, name: &str, rtype: &str) -> Vec<String> {
    let all = snapshot(stack, zone).await;
    all.get(&(format!("{name}."), rtype.to_string())).map(|(_, c)| c.clone()).unwrap_or_default()
}
