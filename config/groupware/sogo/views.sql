-- The views that Dovecot, Postfix and SOGo read; run after schema.sql and usage.sql. The comment on a view says which version of this
-- file it is from: the operator replaces older ones, and leaves alone what has no such comment (the capabilities are
-- missing then). Whoever writes a view of the same use gives it the comment. Blocks are separated by an empty line.

-- A tenant's total limit: a mailbox may hold at most its own limit, and at most what it holds now plus what is left
-- of the tenant's (its use from tenant_usage, see usage.sql: 16 rows, however many mailboxes). This is so for
-- `storagePolicy: Allocate` too: there it bounds mailboxes that have no limit of their own. `home` is relative to the
-- mail folder.
CREATE OR REPLACE VIEW mailbox_quota AS
SELECT m.username, m.store_uid, m.active, m.quota,
       CASE WHEN COALESCE(t.quota, 0) = 0 THEN m.quota
            ELSE GREATEST(1, LEAST(NULLIF(m.quota, 0), COALESCE(q.bytes, 0) + GREATEST(t.quota - COALESCE(u.bytes, 0), 0))) END AS quota_effective,
       COALESCE(NULLIF(trim(trailing '/' from m.maildir), ''), m.store_uid) AS home
  FROM mailbox m JOIN domain d USING (domain) LEFT JOIN tenant t ON t.name = d.tenant
  LEFT JOIN quota2 q ON q.username = m.username
  LEFT JOIN LATERAL (SELECT sum(s.bytes) AS bytes FROM tenant_usage s WHERE s.tenant = t.name AND t.quota <> 0) u ON true;
COMMENT ON VIEW mailbox_quota IS 'mailtenant 3';

-- Who may sign in, and how. Dovecot and Postfix ask this view, so that what "may sign in" means is written once.
CREATE OR REPLACE VIEW mailbox_login AS
SELECT m.username, m.password, m.access_imap, m.access_pop3, m.access_submission, m.access_sieve, m.access_groupware
  FROM mailbox m JOIN domain d USING (domain) LEFT JOIN tenant t ON t.name = d.tenant
 WHERE m.active AND m.login_enabled AND d.active AND COALESCE(t.active, true);
COMMENT ON VIEW mailbox_login IS 'mailtenant 2';

-- Domains that take mail: the domain and its tenant are on.
CREATE OR REPLACE VIEW domain_on AS
SELECT d.domain, d.backupmx, a.target_domain
  FROM domain d LEFT JOIN tenant t ON t.name = d.tenant
  LEFT JOIN alias_domain a ON a.alias_domain = d.domain AND a.active
 WHERE d.active AND COALESCE(t.active, true);
COMMENT ON VIEW domain_on IS 'mailtenant 2';

-- What SOGo reads. c_name = c_uid = the address. Extra addresses in one space-separated column named by
-- MailFieldNames: an alias lends its address inside its own tenant only. `tenant` is named by DomainFieldName: who has the same value sees each other in the address book.
CREATE OR REPLACE VIEW sogo_users AS
SELECT m.username AS c_uid, m.username AS c_name, m.password AS c_password,
       m.name AS c_cn, m.username AS mail, m.domain AS domain,
       CASE t.address_book WHEN 'Domain' THEN m.domain::text WHEN 'None' THEN m.username::text
            ELSE COALESCE(d.tenant, m.domain) END AS tenant,
       COALESCE((SELECT string_agg(x.address, ' ' ORDER BY x.address) FROM (
                  SELECT a.address::text FROM alias a
                    JOIN domain ad ON ad.domain = a.domain AND ad.tenant IS NOT DISTINCT FROM d.tenant
                   WHERE a.active AND a.send_as AND a.address <> m.username AND a.address NOT LIKE '@%'
                     AND string_to_array(replace(a.goto, ' ', ''), ',') @> ARRAY[m.username::text]
                     AND NOT EXISTS (SELECT FROM mailbox o WHERE o.username = a.address)
                  UNION
                  SELECT m.local_part || '@' || o.domain FROM domain_on o WHERE o.target_domain = m.domain) x), '') AS aliases
  FROM mailbox m JOIN domain d USING (domain) LEFT JOIN tenant t ON t.name = d.tenant
 WHERE m.active AND m.login_enabled AND m.access_groupware AND d.active AND COALESCE(t.active, true);
COMMENT ON VIEW sogo_users IS 'mailtenant 2';
