-- The tables that mailtenant, Dovecot, Postfix, OpenDKIM and SOGo share.
--
-- The core has the names, types and meaning of PostfixAdmin 3.3 to 4.x on PostgreSQL; what mailtenant adds is marked
-- "ext" and explained in docs/groupware-sogo.md. Every statement may be repeated and nothing that is there is dropped
-- or rewritten: the same statements are run by the operator under `schema: Managed` (those that are missing, each table
-- by itself, so that no lock is held for long) and by hand under `schema: External`:
--   psql -1 -v ON_ERROR_STOP=1 -d mail -f schema.sql -f usage.sql -f views.sql -f grants.sql
-- With hundreds of thousands of mailboxes leave out the -1 and put "SET lock_timeout = '2s';" first: the servers then
-- never wait longer than that, and what fails is run again.

CREATE TABLE IF NOT EXISTS tenant (                     -- ext
  name text PRIMARY KEY,
  quota bigint NOT NULL DEFAULT 0,                      -- bytes for the whole tenant, 0 = none
  active boolean NOT NULL DEFAULT true
);
CREATE TABLE IF NOT EXISTS domain (
  domain varchar(255) PRIMARY KEY,
  description varchar(255) NOT NULL DEFAULT '',
  aliases int NOT NULL DEFAULT 0,                       -- limit: 0 = unlimited, -1 = none
  mailboxes int NOT NULL DEFAULT 0,
  maxquota bigint NOT NULL DEFAULT 0,                   -- MiB: largest quota one mailbox may get
  quota bigint NOT NULL DEFAULT 0,                      -- MiB: sum of mailbox quotas
  transport varchar(255) NOT NULL DEFAULT '',
  backupmx boolean NOT NULL DEFAULT false,
  created timestamptz NOT NULL DEFAULT now(),
  modified timestamptz NOT NULL DEFAULT now(),
  active boolean NOT NULL DEFAULT true,
  password_expiry int DEFAULT 0
);
CREATE TABLE IF NOT EXISTS mailbox (
  username varchar(255) PRIMARY KEY,                    -- full address
  password varchar(255) NOT NULL DEFAULT '',            -- {ARGON2ID}$argon2id$... / {BLF-CRYPT} / {SSHA512}
  name varchar(255) NOT NULL DEFAULT '',
  maildir varchar(255) NOT NULL DEFAULT '',             -- home below vmail/ of a mailbox that was there before; '' = store_uid
  quota bigint NOT NULL DEFAULT 0,                      -- bytes, 0 = none
  local_part varchar(255) NOT NULL,
  domain varchar(255) NOT NULL REFERENCES domain(domain),
  created timestamptz NOT NULL DEFAULT now(),
  modified timestamptz NOT NULL DEFAULT now(),
  active boolean NOT NULL DEFAULT true,                 -- false: no login AND no delivery (550)
  phone varchar(30) NOT NULL DEFAULT '',
  email_other varchar(255) NOT NULL DEFAULT '',
  token varchar(255) NOT NULL DEFAULT '',
  token_validity timestamptz NOT NULL DEFAULT '2000-01-01',
  password_expiry timestamptz NOT NULL DEFAULT '2000-01-01'
);
CREATE TABLE IF NOT EXISTS alias (
  address varchar(255) PRIMARY KEY,                     -- "@domain" = catch-all; one row per mailbox too (goto = itself[,forwards])
  goto text NOT NULL,                                   -- comma-separated
  domain varchar(255) NOT NULL REFERENCES domain(domain),
  created timestamptz NOT NULL DEFAULT now(),
  modified timestamptz NOT NULL DEFAULT now(),
  active boolean NOT NULL DEFAULT true
);
CREATE TABLE IF NOT EXISTS alias_domain (
  alias_domain varchar(255) PRIMARY KEY REFERENCES domain(domain) ON DELETE CASCADE,
  target_domain varchar(255) NOT NULL REFERENCES domain(domain) ON DELETE CASCADE,
  created timestamptz NOT NULL DEFAULT now(),
  modified timestamptz NOT NULL DEFAULT now(),
  active boolean NOT NULL DEFAULT true
);
CREATE TABLE IF NOT EXISTS dkim (                       -- as PostfixAdmin 3.4+: opendkim reads both tables by itself
  id serial PRIMARY KEY,
  domain_name varchar(255) NOT NULL REFERENCES domain(domain) ON DELETE CASCADE,
  description varchar(255) DEFAULT '',
  selector varchar(63) NOT NULL DEFAULT 'default',
  private_key text,
  public_key text,
  created timestamptz DEFAULT now(),
  modified timestamptz DEFAULT now()
);
CREATE TABLE IF NOT EXISTS dkim_signing (
  id serial PRIMARY KEY,
  author varchar(255) NOT NULL DEFAULT '',              -- a domain or an address
  dkim_id int NOT NULL REFERENCES dkim(id) ON DELETE CASCADE,
  created timestamptz DEFAULT now(),
  modified timestamptz DEFAULT now()
);
CREATE TABLE IF NOT EXISTS dkim_signing_ed25519 (       -- ext: the same for the signer that does Ed25519
  id serial PRIMARY KEY,
  author varchar(255) NOT NULL DEFAULT '',
  dkim_id int NOT NULL REFERENCES dkim(id) ON DELETE CASCADE,
  created timestamptz DEFAULT now(),
  modified timestamptz DEFAULT now()
);
CREATE TABLE IF NOT EXISTS quota2 (                     -- dovecot quota_clone writes here
  username varchar(255) PRIMARY KEY,                    -- PostfixAdmin: 100
  bytes bigint NOT NULL DEFAULT 0,
  messages int NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS app_password (               -- ext (PostfixAdmin 4 has mailbox_app_password)
  id bigserial PRIMARY KEY,
  username varchar(255) NOT NULL REFERENCES mailbox(username) ON UPDATE CASCADE ON DELETE CASCADE,
  name text NOT NULL,
  password text NOT NULL,
  UNIQUE (username, name)
);
CREATE TABLE IF NOT EXISTS import_job (                 -- ext: a row here gives doveadm's imapc its source, so that "backup" works over HTTP
  username varchar(255) PRIMARY KEY REFERENCES mailbox(username) ON UPDATE CASCADE ON DELETE CASCADE,
  imapc_host text, imapc_port int, imapc_user text, imapc_password text, imapc_ssl text, imapc_features text DEFAULT 'rfc822.size fetch-headers'
);

-- ext: what PostfixAdmin's tables lack. Every column has a default or may be null, so that programs that do not know
-- it go on inserting rows. A row with owner NULL is not mailtenant's.
ALTER TABLE tenant ADD COLUMN IF NOT EXISTS owner text;
ALTER TABLE tenant ADD COLUMN IF NOT EXISTS origin text; -- namespace/name of the object; stays when the owner leaves
ALTER TABLE tenant ADD COLUMN IF NOT EXISTS cluster text; -- uid of its cluster's namespace kube-system
ALTER TABLE tenant ADD COLUMN IF NOT EXISTS adopted boolean NOT NULL DEFAULT false;
ALTER TABLE tenant ADD COLUMN IF NOT EXISTS address_book text NOT NULL DEFAULT 'Instance';
ALTER TABLE tenant ADD COLUMN IF NOT EXISTS redirects boolean NOT NULL DEFAULT true; -- false: no redirect by Sieve

ALTER TABLE domain ADD COLUMN IF NOT EXISTS tenant text REFERENCES tenant(name);
ALTER TABLE domain ADD COLUMN IF NOT EXISTS owner text;
ALTER TABLE domain ADD COLUMN IF NOT EXISTS origin text;
ALTER TABLE domain ADD COLUMN IF NOT EXISTS cluster text;
ALTER TABLE domain ADD COLUMN IF NOT EXISTS adopted boolean NOT NULL DEFAULT false;

ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS login_enabled boolean NOT NULL DEFAULT true; -- false: mail still arrives, nobody signs in
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS owner text;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS origin text;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS cluster text;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS adopted boolean NOT NULL DEFAULT false;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS access_imap boolean NOT NULL DEFAULT true;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS access_pop3 boolean NOT NULL DEFAULT true;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS access_submission boolean NOT NULL DEFAULT true;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS access_sieve boolean NOT NULL DEFAULT true;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS access_groupware boolean NOT NULL DEFAULT true;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS password_version text;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS password_applied text;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS effects_due boolean NOT NULL DEFAULT false;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS removing boolean NOT NULL DEFAULT false;
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS home_path text;

-- The one default that differs by row: given together with the column it would rewrite the table under a lock that stops
-- every mail server. The operator fills the rows in small transactions.
ALTER TABLE mailbox ADD COLUMN IF NOT EXISTS store_uid text;
ALTER TABLE mailbox ALTER COLUMN store_uid SET DEFAULT gen_random_uuid()::text;
UPDATE mailbox SET store_uid = gen_random_uuid()::text WHERE store_uid IS NULL;
ALTER TABLE mailbox ALTER COLUMN store_uid SET NOT NULL;

ALTER TABLE alias ADD COLUMN IF NOT EXISTS send_as boolean NOT NULL DEFAULT true;
ALTER TABLE alias ADD COLUMN IF NOT EXISTS owner text;
ALTER TABLE alias ADD COLUMN IF NOT EXISTS origin text;
ALTER TABLE alias ADD COLUMN IF NOT EXISTS cluster text;
ALTER TABLE alias ADD COLUMN IF NOT EXISTS adopted boolean NOT NULL DEFAULT false;
ALTER TABLE alias ADD COLUMN IF NOT EXISTS display_name text NOT NULL DEFAULT '';
ALTER TABLE alias ADD COLUMN IF NOT EXISTS effects_due boolean NOT NULL DEFAULT false;
ALTER TABLE alias ADD COLUMN IF NOT EXISTS effects_for text;

ALTER TABLE dkim ADD COLUMN IF NOT EXISTS created timestamptz DEFAULT CURRENT_TIMESTAMP;
ALTER TABLE dkim ADD COLUMN IF NOT EXISTS modified timestamptz DEFAULT CURRENT_TIMESTAMP;
ALTER TABLE dkim ADD COLUMN IF NOT EXISTS owner text;
ALTER TABLE dkim ADD COLUMN IF NOT EXISTS algorithm text;

CREATE UNIQUE INDEX IF NOT EXISTS tenant_owner_idx ON tenant (owner);
CREATE INDEX IF NOT EXISTS domain_tenant_idx ON domain (tenant);
CREATE INDEX IF NOT EXISTS mailbox_domain_idx ON mailbox (domain);
CREATE INDEX IF NOT EXISTS alias_domain_idx ON alias (domain);
-- Who delivers to an address: asked by SOGo at each sign-in, too slow by scanning once there are thousands of aliases.
CREATE INDEX IF NOT EXISTS alias_goto_idx ON alias USING gin (string_to_array(replace(goto, ' ', ''), ','));
