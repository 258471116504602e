//! What comes before the name: the regular look, and the parents.

use super::*;

#[test]
fn the_regular_look_comes_before_all_that_may_stand_in_the_way() {
    let due = |c: &mut Case| c.facts.regular.as_mut().unwrap().as_mut().unwrap().due = true;
    let held = |c: &mut Case, by: Option<&str>| {
        c.facts.regular.as_mut().unwrap().as_mut().unwrap().holder = by.map(str::to_owned);
    };
    check(
        live,
        &[
            ("nothing is known", &|c| c.facts.regular = None, "learn Regular"),
            ("due", &due, "learn Look"),
            (
                "paused: it is looked all the same",
                &|c| {
                    due(c);
                    c.annotate(annotations::PAUSED, "true");
                },
                "learn Look",
            ),
            ("asked for", &|c| c.annotate(annotations::RECONCILE, "1"), "learn Look"),
            (
                "asked for and handled",
                &|c| {
                    c.annotate(annotations::RECONCILE, "1");
                    c.domain.status.as_mut().unwrap().last_handled_reconcile_at = Some("1".into());
                },
                "acme.test is live",
            ),
            (
                "the rows are another one's",
                &|c| {
                    due(c);
                    held(c, Some("other"));
                },
                "acme.test is live",
            ),
            (
                "nobody holds the name, and it is only looked at",
                &|c| {
                    due(c);
                    held(c, None);
                    c.domain.spec.management_policy = ManagementPolicy::Observe;
                    c.facts.regular.as_mut().unwrap().as_mut().unwrap().observes = true;
                },
                "learn Look",
            ),
            ("there is no server to ask", &|c| c.facts.regular = Some(None), "acme.test is live"),
        ],
    );
    let mut lost = live();
    due(&mut lost);
    (lost.facts.looked, lost.facts.zone_found) = (Some(false), false);
    let provisioned = |c: &Case| {
        let notes = c.plan().notes;
        notes.iter().any(|n| matches!(n, Note::Condition(ConditionType::Provisioned, false, Reason::Drifted, _)))
    };
    assert!(!provisioned(&lost), "it was not provisioned before");
    let mut conditions = Conditions::new(&[], 1, jiff::Timestamp::UNIX_EPOCH);
    conditions.set(ConditionType::Provisioned, true, Reason::Succeeded, "");
    lost.domain.status.as_mut().unwrap().conditions = conditions.into_vec();
    assert!(provisioned(&lost), "those in it wait, whatever becomes of the zone");
}

#[test]
fn nothing_goes_on_while_the_parents_cannot_be_used() {
    let backend = |c: &mut Case, spec: Value| c.known().dns = Some(Arc::new(fixtures::dns_backend(spec)));
    check(
        live,
        &[
            ("paused", &|c| c.annotate(annotations::PAUSED, "true"), "wait Paused"),
            ("no name", &|c| c.domain.spec.domain = "test".into(), "wait InvalidSpec"),
            ("parents", &|c| c.facts.known = None, "learn Parents"),
            (
                "no instance",
                &|c| c.known().instance = Err(NotReady::waiting(Reason::InstanceNotFound, "")),
                "wait InstanceNotFound",
            ),
            (
                "the instance is paused",
                &|c| {
                    let object = Arc::make_mut(&mut c.instance().object);
                    object.metadata.annotations = Some([(annotations::PAUSED.into(), "true".into())].into());
                },
                "wait Paused",
            ),
            (
                "the instance is being deleted",
                &|c| {
                    let object = Arc::make_mut(&mut c.instance().object);
                    object.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
                },
                "wait InstanceNotReady",
            ),
            ("the instance is not made", &|c| c.instance().id = None, "wait InstanceNotReady"),
            ("too many", &|c| c.known().limit = Verdict::Number { what: "domains", limit: 1 }, "wait LimitExceeded"),
            (
                "by hand, in a zone that is for others",
                &|c| {
                    c.domain.spec.dns.mode = mail_domain::DnsMode::Manual;
                    c.known().by_hand = Err(NotReady::stalled(Reason::BackendNotAllowed, ""));
                },
                "wait BackendNotAllowed",
            ),
            ("no DNSBackend is named", &|c| c.domain.spec.dns.backend_ref = None, "wait InvalidSpec"),
            ("no DNSBackend is there", &|c| c.known().dns = None, "wait BackendNotFound"),
            (
                "the DNSBackend is for others",
                &|c| {
                    backend(
                        c,
                        json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}),
                    )
                },
                "wait BackendNotAllowed",
            ),
            ("no such zone", &|c| backend(c, json!({"zones": [{"name": "other.test"}]})), "wait BackendNotAllowed"),
            (
                "the groupware server is away",
                &|c| Arc::make_mut(&mut c.instance().backend).status = None,
                "wait BackendUnreachable",
            ),
            (
                "an alias of a domain",
                &|c| c.domain.spec.alias_of = Some(serde_json::from_value(json!({"name": "e"})).unwrap()),
                "wait Unsupported",
            ),
            (
                "the records are at another DNSBackend",
                &|c| c.domain.status.as_mut().unwrap().dns.as_mut().unwrap().backend = Some("m".into()),
                "wait InvalidSpec",
            ),
            ("the groupware server", &|c| c.facts.server = None, "learn Server"),
            (
                "the DNS server is away",
                &|c| Arc::make_mut(c.known().dns.as_mut().unwrap()).status = None,
                "wait BackendUnreachable",
            ),
            ("the zone", &|c| c.facts.zone_found = false, "learn Zone"),
        ],
    );
}
