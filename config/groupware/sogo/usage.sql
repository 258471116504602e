-- What the mailboxes of a tenant use together, kept by triggers. The view mailbox_quota reads it at each lookup: adding up
-- the tenant there took 0.4 ms with 1,000 mailboxes, and grew with them.
--
-- Run after schema.sql and before views.sql. May be repeated, and counts anew each time; run it after rows were written
-- with triggers switched off. Blocks are separated by an empty line. The comment on the table says which version of this
-- file it is from: it comes last, when the triggers are there and the sums are right.

-- A sum is kept in 16 parts, by a hash of the address: mailboxes of a tenant that get mail at the same moment wait for each
-- other's commit only if they share a part. A part by itself means nothing, and may be below zero.
CREATE TABLE IF NOT EXISTS tenant_usage (
  tenant text NOT NULL REFERENCES tenant(name) ON UPDATE CASCADE ON DELETE CASCADE,
  slot int NOT NULL,                                    -- 0 to 15
  bytes bigint NOT NULL,
  PRIMARY KEY (tenant, slot)
) WITH (fillfactor = 50);                               -- room for new versions of a row beside the old one

-- The triggers run inside the statements of Dovecot, PostfixAdmin and the operator, as the owner of the functions: none of
-- these roles needs a right on tenant_usage. Whose use changes is looked up after a lock by a hash of the address (256 of
-- them, until the end of the transaction): shared by writers of use, exclusive for who makes, removes or moves mailboxes.
-- Of a delivery and a removal at the same moment one waits, and sees then what the other did.
-- A name is looked up in pg_catalog first and in pg_temp last, and arguments have the very types that pg_catalog knows:
-- roles that may create functions or temporary tables cannot slip theirs in.
DO $do$
DECLARE
  path text := (SELECT string_agg(quote_ident(s), ', ') FROM unnest(current_schemas(false)) s);
  f text;
BEGIN
  CREATE OR REPLACE FUNCTION tenant_usage_quota2() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$
  DECLARE
    users text[];
    more bigint[];
  BEGIN
    IF TG_OP = 'INSERT' THEN
      SELECT pg_catalog.array_agg(n.username::text), pg_catalog.array_agg(n.bytes) INTO users, more FROM added n;
    ELSIF TG_OP = 'DELETE' THEN
      SELECT pg_catalog.array_agg(o.username::text), pg_catalog.array_agg(- o.bytes) INTO users, more FROM gone o;
    ELSE
      SELECT pg_catalog.array_agg(x.username), pg_catalog.array_agg(x.more) INTO users, more FROM (
        SELECT b.username, sum(b.bytes)::bigint AS more FROM (
          SELECT n.username::text, n.bytes FROM added n UNION ALL SELECT o.username::text, - o.bytes FROM gone o) b
         GROUP BY b.username HAVING sum(b.bytes)::bigint <> 0::bigint) x;
    END IF;
    IF users IS NULL THEN
      RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
      -- The mailbox goes next, as a rule: with a shared lock two such transactions would wait for each other.
      PERFORM pg_advisory_xact_lock(7236271, k.k) FROM (SELECT DISTINCT hashtext(x) & 255 AS k FROM unnest(users) x ORDER BY 1) k;
    ELSE
      PERFORM pg_advisory_xact_lock_shared(7236271, k.k) FROM (SELECT DISTINCT hashtext(x) & 255 AS k FROM unnest(users) x ORDER BY 1) k;
    END IF;
    UPDATE tenant_usage u SET bytes = u.bytes + s.more FROM (
        SELECT d.tenant, hashtext(m.username::text) & 15 AS slot, sum(x.more)::bigint AS more
          FROM unnest(users, more) AS x(username, more)
          JOIN mailbox m ON m.username::text = x.username JOIN domain d ON d.domain::text = m.domain::text
         WHERE d.tenant IS NOT NULL GROUP BY d.tenant, hashtext(m.username::text) & 15) s
      WHERE u.tenant = s.tenant AND u.slot = s.slot;
    RETURN NULL;
  END $f$;
  CREATE OR REPLACE FUNCTION tenant_usage_mailbox() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$
  DECLARE
    users text[];
    domains text[];
    signs bigint[];
  BEGIN
    IF TG_OP = 'INSERT' THEN
      SELECT pg_catalog.array_agg(n.username::text), pg_catalog.array_agg(n.domain::text), pg_catalog.array_agg(1::bigint)
        INTO users, domains, signs FROM added n;
    ELSIF TG_OP = 'DELETE' THEN
      SELECT pg_catalog.array_agg(o.username::text), pg_catalog.array_agg(o.domain::text), pg_catalog.array_agg(- 1::bigint)
        INTO users, domains, signs FROM gone o;
    ELSE
      users := ARRAY[OLD.username, NEW.username];
      domains := ARRAY[OLD.domain, NEW.domain];
      signs := ARRAY[-1, 1];
    END IF;
    IF users IS NULL THEN
      RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(7236271, k.k) FROM (SELECT DISTINCT hashtext(x) & 255 AS k FROM unnest(users) x ORDER BY 1) k;
    UPDATE tenant_usage u SET bytes = u.bytes + s.more FROM (
        SELECT d.tenant, hashtext(x.username) & 15 AS slot, sum(x.sign * q.bytes)::bigint AS more
          FROM unnest(users, domains, signs) AS x(username, domain, sign)
          JOIN domain d ON d.domain::text = x.domain JOIN quota2 q ON q.username::text = x.username
         WHERE d.tenant IS NOT NULL GROUP BY d.tenant, hashtext(x.username) & 15) s
      WHERE u.tenant = s.tenant AND u.slot = s.slot;
    RETURN NULL;
  END $f$;
  CREATE OR REPLACE FUNCTION tenant_usage_domain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$
  BEGIN
    IF TG_OP = 'INSERT' AND NOT EXISTS (SELECT FROM mailbox m WHERE m.domain::text = NEW.domain::text) THEN
      RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(7236271, k) FROM generate_series(0, 255) k;
    UPDATE tenant_usage u SET bytes = u.bytes + s.more FROM (
        SELECT x.tenant, hashtext(m.username::text) & 15 AS slot, sum(x.sign * q.bytes)::bigint AS more
          FROM (VALUES (OLD.tenant, OLD.domain::text, - 1::bigint), (NEW.tenant, NEW.domain::text, 1::bigint)) AS x(tenant, domain, sign)
          JOIN mailbox m ON m.domain::text = x.domain JOIN quota2 q ON q.username::text = m.username::text
         WHERE x.tenant IS NOT NULL GROUP BY x.tenant, hashtext(m.username::text) & 15) s
      WHERE u.tenant = s.tenant AND u.slot = s.slot;
    RETURN NULL;
  END $f$;
  CREATE OR REPLACE FUNCTION tenant_usage_tenant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$
  BEGIN
    INSERT INTO tenant_usage (tenant, slot, bytes) SELECT NEW.name, s, 0::bigint FROM generate_series(0, 15) s ON CONFLICT DO NOTHING;
    RETURN NULL;
  END $f$;
  CREATE OR REPLACE FUNCTION tenant_usage_none() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$
  BEGIN
    UPDATE tenant_usage SET bytes = 0::bigint;
    RETURN NULL;
  END $f$;
  FOREACH f IN ARRAY ARRAY['quota2', 'mailbox', 'domain', 'tenant', 'none'] LOOP
    EXECUTE format('ALTER FUNCTION %I() SET search_path = pg_catalog, %s, pg_temp', 'tenant_usage_' || f, path);
    EXECUTE format('REVOKE ALL ON FUNCTION %I() FROM PUBLIC', 'tenant_usage_' || f);
  END LOOP;
END $do$;

CREATE OR REPLACE TRIGGER tenant_usage_quota2_insert AFTER INSERT ON quota2
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION tenant_usage_quota2();
CREATE OR REPLACE TRIGGER tenant_usage_quota2_update AFTER UPDATE ON quota2
  REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION tenant_usage_quota2();
CREATE OR REPLACE TRIGGER tenant_usage_quota2_delete AFTER DELETE ON quota2
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION tenant_usage_quota2();
CREATE OR REPLACE TRIGGER tenant_usage_quota2_truncate AFTER TRUNCATE ON quota2
  FOR EACH STATEMENT EXECUTE FUNCTION tenant_usage_none();

CREATE OR REPLACE TRIGGER tenant_usage_mailbox_insert AFTER INSERT ON mailbox
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION tenant_usage_mailbox();
CREATE OR REPLACE TRIGGER tenant_usage_mailbox_delete AFTER DELETE ON mailbox
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION tenant_usage_mailbox();
CREATE OR REPLACE TRIGGER tenant_usage_mailbox_update AFTER UPDATE ON mailbox FOR EACH ROW
  WHEN (OLD.username IS DISTINCT FROM NEW.username OR OLD.domain IS DISTINCT FROM NEW.domain)
  EXECUTE FUNCTION tenant_usage_mailbox();
CREATE OR REPLACE TRIGGER tenant_usage_mailbox_truncate AFTER TRUNCATE ON mailbox
  FOR EACH STATEMENT EXECUTE FUNCTION tenant_usage_none();

CREATE OR REPLACE TRIGGER tenant_usage_domain_insert AFTER INSERT ON domain FOR EACH ROW
  WHEN (NEW.tenant IS NOT NULL) EXECUTE FUNCTION tenant_usage_domain();
CREATE OR REPLACE TRIGGER tenant_usage_domain_delete AFTER DELETE ON domain FOR EACH ROW
  WHEN (OLD.tenant IS NOT NULL) EXECUTE FUNCTION tenant_usage_domain();
CREATE OR REPLACE TRIGGER tenant_usage_domain_update AFTER UPDATE ON domain FOR EACH ROW
  WHEN (OLD.tenant IS DISTINCT FROM NEW.tenant OR OLD.domain IS DISTINCT FROM NEW.domain)
  EXECUTE FUNCTION tenant_usage_domain();
CREATE OR REPLACE TRIGGER tenant_usage_domain_truncate AFTER TRUNCATE ON domain
  FOR EACH STATEMENT EXECUTE FUNCTION tenant_usage_none();

CREATE OR REPLACE TRIGGER tenant_usage_tenant_insert AFTER INSERT ON tenant FOR EACH ROW EXECUTE FUNCTION tenant_usage_tenant();

-- Counted anew while nobody writes: a change that began before and is not seen yet would be missing for ever.
DO $do$
BEGIN
  LOCK TABLE quota2, mailbox, domain IN SHARE MODE;
  INSERT INTO tenant_usage (tenant, slot, bytes)
  SELECT t.name, s, COALESCE(u.bytes, 0) FROM tenant t CROSS JOIN generate_series(0, 15) s LEFT JOIN (
      SELECT d.tenant, hashtext(m.username::text) & 15 AS slot, sum(q.bytes)::bigint AS bytes
        FROM quota2 q JOIN mailbox m ON m.username::text = q.username::text JOIN domain d ON d.domain = m.domain GROUP BY 1, 2) u
    ON u.tenant = t.name AND u.slot = s
  ON CONFLICT (tenant, slot) DO UPDATE SET bytes = excluded.bytes WHERE tenant_usage.bytes <> excluded.bytes;
  COMMENT ON TABLE tenant_usage IS 'mailtenant 1';
END $do$;
