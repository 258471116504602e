//! What somebody does at a groupware server by hand.

use super::{Domain, Mailbox, Server, Stage};
use mailtenant_groupware::*;
use serde::{Deserialize, Serialize};

/// What somebody does at the server by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ByHand {
    /// A domain that is nobody's; with the id of a tenant, it is in it.
    ForeignDomain { name: String },
    /// A mailbox with mail that is nobody's.
    ForeignMailbox { address: String },
    /// An alias that is nobody's.
    ForeignAlias { address: String, target: String },
    /// A mailbox's row and mail are deleted.
    DropMailbox { address: String },
    /// A mailbox's quota is changed.
    EditMailbox { address: String, quota: u64 },
    /// An alias' targets are changed.
    EditAlias { address: String, targets: Vec<String> },
    /// An alias' row is deleted.
    DropAlias { address: String },
    /// A domain is switched off.
    SwitchOffDomain { name: String },
    /// The server is empty all of a sudden: another one, or one restored from nothing.
    Empty,
    /// Mailboxes and aliases are lost, as from a table that was restored from nothing; tenants and domains are there.
    EmptyMailboxes,
    /// Another, empty server answers in its place.
    Away,
    /// It is itself again.
    Back,
    /// The operator's password is changed at the server.
    Password { password: String },
}

impl Server {
    /// Does it; the addresses whose rows are no longer as the operator left them.
    pub fn by_hand(&mut self, step: &ByHand) -> Vec<String> {
        match step {
            ByHand::ForeignDomain { name } => {
                let row = DomainRow {
                    name: DomainName::from_server(name),
                    owner: None,
                    origin: None,
                    adopted: false,
                    tenant: None,
                    active: true,
                    alias_of: None,
                };
                self.domains.entry(DomainName::from_server(name)).or_insert(Domain { row, dkim: vec![] });
                vec![]
            }
            ByHand::ForeignMailbox { address } => {
                if self.aliases.contains_key(address.as_str()) || self.mailboxes.contains_key(address.as_str()) {
                    return vec![];
                }
                self.made += 1;
                let id = format!("foreign-{}", self.made);
                let settings = MailboxSettings {
                    display_name: "Foreign".into(),
                    quota: 7 << 20,
                    login: true,
                    receive: true,
                    access: Access::default(),
                    forward_to: vec![],
                    keep_copy: true,
                };
                let row = MailboxRow {
                    address: Address::from_server(address),
                    id: id.clone(),
                    owner: None,
                    origin: None,
                    adopted: false,
                    settings,
                    password_version: None,
                    password_drifted: false,
                    effects_due: false,
                    removing: false,
                    used: 42,
                };
                let data = [format!("mail:{id}")].into();
                self.mailboxes.insert(
                    Address::from_server(address),
                    Mailbox { row, stage: Stage::Live, password: "foreign".into(), data },
                );
                vec![]
            }
            ByHand::ForeignAlias { address, target } => {
                if self.aliases.contains_key(address.as_str()) || self.mailboxes.contains_key(address.as_str()) {
                    return vec![];
                }
                let settings = AliasSettings {
                    targets: vec![Address::from_server(target)],
                    send_as: false,
                    display_name: "Foreign".into(),
                    active: true,
                };
                let row = AliasRow {
                    address: Address::from_server(address),
                    owner: None,
                    origin: None,
                    adopted: false,
                    settings,
                    effects_due: false,
                };
                self.aliases.insert(Address::from_server(address), row);
                vec![]
            }
            ByHand::DropMailbox { address } => {
                self.mailboxes.remove(address.as_str()).map(|_| address.clone()).into_iter().collect()
            }
            ByHand::EditMailbox { address, quota } => {
                match self.mailboxes.get_mut(address.as_str()).filter(|m| m.row.owner.is_some()) {
                    Some(m) => {
                        m.row.settings.quota = *quota;
                        vec![address.clone()]
                    }
                    None => vec![],
                }
            }
            ByHand::EditAlias { address, targets } => {
                match self.aliases.get_mut(address.as_str()).filter(|a| a.owner.is_some()) {
                    Some(a) => {
                        a.settings.targets = targets.iter().map(Address::from_server).collect();
                        vec![address.clone()]
                    }
                    None => vec![],
                }
            }
            ByHand::DropAlias { address } => {
                self.aliases.remove(address.as_str()).map(|_| address.clone()).into_iter().collect()
            }
            ByHand::SwitchOffDomain { name } => {
                match self.domains.get_mut(name.as_str()).filter(|d| d.row.owner.is_some()) {
                    Some(d) => {
                        d.row.active = false;
                        vec![name.clone()]
                    }
                    None => vec![],
                }
            }
            ByHand::Empty => {
                let addresses = self.mailboxes.keys().chain(self.aliases.keys()).map(String::from);
                let domains = self.domains.keys().map(String::from);
                let all = addresses.chain(domains).chain(self.tenants.keys().map(String::from)).collect();
                self.tenants.clear();
                self.domains.clear();
                self.mailboxes.clear();
                self.aliases.clear();
                all
            }
            ByHand::EmptyMailboxes => {
                let all = self.mailboxes.keys().chain(self.aliases.keys()).map(String::from).collect();
                self.mailboxes.clear();
                self.aliases.clear();
                all
            }
            ByHand::Away => {
                let before = self.clone();
                let all = self.by_hand(&ByHand::Empty);
                self.away = Some(Box::new(before));
                all
            }
            ByHand::Back => {
                let Some(before) = self.away.take() else { return vec![] };
                let mut all = self.by_hand(&ByHand::Empty);
                self.tenants = before.tenants;
                self.domains = before.domains;
                self.mailboxes = before.mailboxes;
                self.aliases = before.aliases;
                let addresses = self.mailboxes.keys().chain(self.aliases.keys()).map(String::from);
                all.extend(addresses.chain(self.domains.keys().map(String::from)));
                all.extend(self.tenants.keys().map(String::from));
                all
            }
            ByHand::Password { password } => {
                self.password = password.clone();
                vec![]
            }
        }
    }
}
