//! Records, zones and the switch of MX.

use super::step::{Shell, Step};
use crate::object::Object;
use serde_json::json;

/// The proof is not in the DNS.
pub fn unproven(domain: &Object, shell: &Shell) -> Step {
    let (name, value) = (domain.text("/status/challenge/name"), domain.text("/status/challenge/value"));
    let text = match name.is_empty() {
        true => "publish the TXT record that status.challenge will name where the zone is edited".to_owned(),
        false => format!(
            "publish this record where the zone is edited; it is looked for every 30 s:\n  {name}. IN TXT \"{value}\""
        ),
    };
    Step::tenant(text).look(shell.plugin_dns(domain))
}

/// A record of somebody else is in the place of ours.
pub fn conflict(domain: &Object, shell: &Shell) -> Step {
    let policy = |word: &str| shell.merge(domain, &json!({"spec": {"dns": {"conflictPolicy": word}}}));
    let text = "keep the record that is there (Adopt; not for DKIM keys), or replace it by ours (Overwrite); or remove it where the zone \
                is edited and ask for a pass";
    Step::tenant(text)
        .run(policy("Adopt"))
        .run(policy("Overwrite"))
        .run(shell.plugin("reconcile", domain))
        .look(shell.plugin_dns(domain))
}

/// The server has no such zone.
pub fn no_zone(domain: &Object, shell: &Shell) -> Step {
    let text = format!("make the zone of {} at the DNS server: it is tried again", domain.text("/spec/domain"));
    Step::platform(text).look(shell.plugin_dns(domain))
}

/// The server has the zone as a secondary.
pub fn read_only(domain: &Object, shell: &Shell) -> Step {
    let backend = domain.text("/spec/dns/backendRef/name");
    let text = format!(
        "give DNSBackend {backend} the primary server of the zone: what is written here goes with the next transfer"
    );
    let look = shell.kubectl(&format!("get dnsbackend {backend} -o yaml"));
    Step::platform(text).look(look).look(shell.plugin_dns(domain))
}

/// Records that a person edits are not as they should be.
pub fn by_hand(domain: &Object, shell: &Shell) -> Step {
    let text = "edit these records at your DNS provider, each as its message says: they are looked at every 30 s at first, every 5 minutes \
                later, and at once where a pass is asked for";
    Step::tenant(text).run(shell.plugin("reconcile", domain)).look(shell.plugin_dns(domain))
}

/// What a live domain says of its DNS, and nobody puts right by itself.
pub fn unhealthy(domain: &Object, shell: &Shell) -> Step {
    let text = "put right what the message names, at the registrar or where the zone is edited, and ask for a pass";
    Step::tenant(text).run(shell.plugin("reconcile", domain)).look(shell.plugin_dns(domain))
}

/// A ConfigMap of somebody else has the name of the zone file.
pub fn not_our_file(domain: &Object, shell: &Shell) -> Step {
    let map = format!("{}-records", domain.name());
    let text = format!("ConfigMap {map} is not of the operator: delete it, and the zone file is put there");
    Step::tenant(text).run(shell.kubectl(&format!("delete configmap {map} -n {}", domain.namespace())))
}

/// Everything is prepared.
pub fn approval(domain: &Object, shell: &Shell) -> Step {
    let text = format!("approve: MX of {} is switched to the groupware server then", domain.text("/spec/domain"));
    Step::tenant(text).run(shell.plugin("approve", domain)).look(shell.plugin_dns(domain))
}

/// Every address is ready, and the mail server does not take mail for one of them.
pub fn acceptance(domain: &Object, shell: &Shell) -> Step {
    Step::platform(
        "the mail server refuses the address that the message names, or is still being asked: look at `delivery` of the GroupwareBackend \
         and at the server. It is tried again",
    )
    .look(shell.plugin_dns(domain))
}

impl Shell {
    fn plugin_dns(&self, domain: &Object) -> String {
        self.kubectl(&format!("mailtenant dns {} -n {}", domain.name(), domain.namespace()))
    }
}
