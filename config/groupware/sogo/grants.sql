-- What the servers may do; the role names are the ones in the templates. Run it after schema.sql, or, under
-- `schema: Managed`, once the GroupwareBackend is Ready. May be repeated.
GRANT SELECT ON mailbox, domain, tenant, alias, alias_domain, quota2, app_password, import_job, dkim, dkim_signing, dkim_signing_ed25519,
  mailbox_quota, mailbox_login, domain_on TO mailread;
GRANT INSERT, UPDATE, DELETE ON quota2 TO mailread;
-- Nobody needs a right on tenant_usage: the triggers of usage.sql and the view mailbox_quota read and write it as their owner.
-- SOGo makes its own tables beside ours and owns them. The operator's role must be able to delete rows in them:
-- make it a member of SOGo's role (GRANT sogo TO mailtenant), or purging a mailbox ends in Unauthorized.
GRANT SELECT ON sogo_users TO sogo;
GRANT CREATE ON SCHEMA public TO sogo;
