//! A groupware stack of its own for a test: started by `e2e/stack/groupware/up.sh` in a temporary folder and on free
//! ports, ended when dropped, also by a panic.

use mailtenant::providers;
use mailtenant_api::groupware_backend::GroupwareBackendSpec;
use mailtenant_backend::SecretText;
use mailtenant_controllers::connect::{ConnectGroupware, Secrets};
use mailtenant_groupware::{GroupwareServer, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// A running stack.
pub struct Stack {
    root: PathBuf,
    env: BTreeMap<String, String>,
    /// Holds the block of ports against other stacks.
    _block: TcpListener,
}

/// What the ports of a stack are counted from; see `up.sh`.
const OFFSETS: &[u16] = &[12, 13, 17, 18, 20, 24, 25, 26, 80, 90, 110, 143, 144, 190, 191, 211, 432, 587, 588, 589];
const BLOCK: u16 = 600;
static NEXT: AtomicU16 = AtomicU16::new(0);

fn free_block() -> (u16, TcpListener) {
    // Below the ports that the kernel gives to outgoing connections.
    let blocks = 36;
    let first = (std::process::id() % u32::from(blocks)) as u16;
    for _ in 0..blocks * 4 {
        let n = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % blocks;
        let base = 10_000 + n * BLOCK;
        let Ok(block) = TcpListener::bind(("127.0.0.1", base)) else { continue };
        if OFFSETS.iter().all(|o| TcpListener::bind(("127.0.0.1", base + o)).is_ok()) {
            return (base, block);
        }
    }
    panic!("no free block of ports");
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("e2e/stack/groupware").join(name)
}

impl Stack {
    /// Starts one.
    pub fn up() -> Stack {
        let (base, block) = free_block();
        let root = std::env::temp_dir().join(format!("mailtenant-groupware-{}-{base}", std::process::id()));
        let mut stack = Stack { root, env: BTreeMap::new(), _block: block };
        // Into a file: the servers inherit the output, and a pipe would stay open as long as they live.
        std::fs::create_dir_all(&stack.root).unwrap();
        let log = stack.root.join("up.log");
        let out = || std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut up = Command::new(script("up.sh"));
        up.arg(&stack.root).arg(base.to_string()).stdin(Stdio::null());
        let status = up.stdout(out()).stderr(out()).status().unwrap();
        assert!(status.success(), "up.sh: {}", std::fs::read_to_string(&log).unwrap_or_default());
        let env = std::fs::read_to_string(stack.root.join("env")).unwrap();
        stack.env = env.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        stack
    }

    /// A port of the stack: `IMAP`, `SMTP`, …
    pub fn port(&self, name: &str) -> u16 {
        self.env[&format!("GW_P_{name}")].parse().unwrap()
    }

    /// Folder of the stack.
    pub fn root(&self) -> &std::path::Path {
        &self.root
    }

    /// A value of `ROOT/env`.
    pub fn value(&self, name: &str) -> &str {
        &self.env[name]
    }

    /// Settings for the provider, changed by `patch` (a JSON merge into `spec.sogo`).
    pub fn settings(&self, patch: serde_json::Value) -> Settings {
        let mut spec = json!({
            "allowedNamespaces": {"from": "All"},
            "hosts": {"mx": [{"host": "mx.groupware.test"}]},
            "limits": {"requestsPerSecond": 10000, "concurrency": 16},
            "sogo": {
                "database": {"host": "127.0.0.1", "port": self.port("PG"), "name": "groupware", "tls": "Disable",
                    "credentialsSecretRef": {"name": "db"}},
                "doveadm": {"url": format!("http://127.0.0.1:{}/doveadm/v1", self.port("DOVEADM")),
                    "apiKeySecretRef": {"name": "doveadm", "key": "apiKey"}},
                "memcached": {"host": "127.0.0.1", "port": self.port("MEMCACHED")},
                "schema": "Managed"
            }
        });
        json_patch::merge(&mut spec["sogo"], &patch);
        let spec: GroupwareBackendSpec = serde_json::from_value(spec).unwrap();
        let secret = |n: &str, k: &str, v: &str| ((n.to_owned(), k.to_owned()), SecretText::new(v));
        let secrets = BTreeMap::from([
            secret("db", "username", self.value("GW_DB_USER")),
            secret("db", "password", self.value("GW_DB_PASSWORD")),
            secret("doveadm", "apiKey", self.value("GW_API_KEY")),
        ]);
        Settings { spec, secrets: Secrets(secrets) }
    }

    /// The provider, connected to this stack.
    pub fn backend(&self) -> Arc<dyn GroupwareServer> {
        self.settings(json!({})).connect().unwrap()
    }

    /// The database, as its superuser: the test's own eyes.
    pub async fn sql(&self, database: &str) -> Sql {
        let (client, connection) = tokio_postgres::Config::new()
            .host("127.0.0.1")
            .port(self.port("PG"))
            .user("postgres")
            .dbname(database)
            .options("-c search_path=public,sogo")
            .connect(tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        Sql(client)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let mut down = Command::new(script("down.sh"));
        down.arg(&self.root).stdin(Stdio::null());
        let _ = down.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.root);
        } else {
            eprintln!("the stack's logs are in {}/log", self.root.display());
        }
    }
}

/// A connection to the database.
pub struct Sql(pub tokio_postgres::Client);

impl Sql {
    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        self.0.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// The rows, each as one text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.0.query(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        rows.iter().map(|r| r.get::<_, Option<String>>(0).unwrap_or_default()).collect()
    }

    /// The first row, as text.
    pub async fn text(&self, sql: &str) -> String {
        self.texts(sql).await.into_iter().next().unwrap_or_default()
    }

    /// Counts.
    pub async fn count(&self, sql: &str) -> i64 {
        self.0.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0)
    }

    /// From now on every row that is written in our tables is noted in `writes`.
    pub async fn watch(&self) {
        self.run(
            "CREATE TABLE writes (id serial PRIMARY KEY, tbl text, op text); \
             CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
             $$ BEGIN INSERT INTO writes (tbl, op) VALUES (TG_TABLE_NAME, TG_OP); RETURN NULL; END $$;",
        )
        .await;
        for table in
            ["tenant", "domain", "mailbox", "alias", "alias_domain", "dkim", "dkim_signing", "dkim_signing_ed25519"]
        {
            self.run(&format!(
                "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION note_write()"
            ))
            .await;
        }
    }
}

/// What a provider is made from.
pub struct Settings {
    pub spec: GroupwareBackendSpec,
    pub secrets: Secrets,
}

impl Settings {
    pub fn connect(&self) -> Result<Arc<dyn GroupwareServer>> {
        providers::Groupware.connect(&self.spec, &self.secrets)
    }
}
