//! The groupware providers against real servers: the conformance suite of the trait, and what is seen from outside.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

mod addresses;
mod authors;
mod closed;
mod conformance;
mod effects;
mod migration;
mod outside;
mod quota;
mod signing;
mod sogo_tables;
mod stack;
mod usage;
mod versions;

use async_trait::async_trait;
use stack::{Sql, Stack};

struct Eyes(Sql);

#[async_trait]
impl conformance::Hooks for Eyes {
    async fn writes(&self) -> i64 {
        self.0.count("SELECT count(*) FROM writes").await
    }
    async fn change_password(&self, address: &str) {
        self.0.run(&format!("UPDATE mailbox SET password = '{{PLAIN}}own' WHERE username = '{address}'")).await;
    }
    async fn lose_mailbox(&self, address: &str) {
        self.0
            .run(&format!(
                "DELETE FROM mailbox WHERE username = '{address}'; DELETE FROM alias WHERE address = '{address}'"
            ))
            .await;
    }
}

#[tokio::test]
async fn sogo_conforms() {
    let stack = Stack::up();
    let sql = stack.sql("groupware").await;
    sql.watch().await;
    conformance::conformance(&*stack.backend(), &Eyes(sql)).await;
}
