-- What the servers may do; the role names are the ones in the templates. Run it after schema.sql, or, under
-- `schema: Managed`, once the GroupwareBackend is Ready. May be repeated.
GRANT SELECT ON mailbox, domain, tenant, alias, alias_domain, quota2, app_password, import_job, dkim, dkim_signing, dkim_signing_ed25519,
  mailbox_quota, mailbox_login, domain_on TO mailread;
GRANT INSERT, UPDATE, DELETE ON quota2 TO mailread;
-- Nobody needs a right on tenant_usage: the triggers of usage.sql and the view mailbox_quota read and write it as their owner.
-- SOGo makes its own tables and owns them. The operator's role must be able to delete rows in them: make it a member of
-- SOGo's role (GRANT sogo TO mailtenant), or purging a mailbox ends in Unauthorized.
-- They are in a schema of its role's name, which PostgreSQL looks into first for it ("$user", public). It may create
-- nothing in the schema that the operator and the other servers look into: a function or an operator of its own there
-- could be meant by their statements, and would run with their rights. Before PostgreSQL 15 everybody may; there also:
--   REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT CREATE ON SCHEMA public TO mailtenant;
CREATE SCHEMA IF NOT EXISTS sogo AUTHORIZATION sogo;
REVOKE CREATE ON SCHEMA public FROM sogo;
GRANT USAGE ON SCHEMA public TO sogo;
GRANT SELECT ON sogo_users TO sogo;
