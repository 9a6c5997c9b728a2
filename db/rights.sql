-- Who holds what in schema stem, from the catalog alone: one row for each right on each object that somebody else than the object's
-- owner has, as GRANT writes it. A grantee of 0 is PUBLIC; of grants that somebody who may pass them on has made, each is a row.
with space as (
    select n.oid, n.nspowner, n.nspacl from pg_namespace n where n.nspname = 'stem'
), object as (
    select 'schema stem' as name, s.nspowner as owner, null as columns, coalesce(s.nspacl, acldefault('n', s.nspowner)) as acl from space s
    union all
    select case c.relkind when 'S' then 'sequence' else 'table' end || ' stem.' || quote_ident(c.relname), c.relowner, null,
        coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))
    from pg_class c join space s on s.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select 'table stem.' || quote_ident(c.relname), c.relowner, ' (' || quote_ident(a.attname) || ')', a.attacl
    from pg_class c join space s on s.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid where a.attacl is not null
    union all
    select case p.prokind when 'p' then 'procedure' else 'function' end || ' stem.' || quote_ident(p.proname) || '('
        || oidvectortypes(p.proargtypes) || ')', p.proowner, null, coalesce(p.proacl, acldefault('f', p.proowner))
    from pg_proc p join space s on s.oid = p.pronamespace
    union all
    -- An array has the rights of what it is made of.
    select 'type stem.' || quote_ident(t.typname), t.typowner, null, coalesce(t.typacl, acldefault('T', t.typowner))
    from pg_type t join space s on s.oid = t.typnamespace where t.typcategory <> 'A'
)
select o.name as object, a.privilege_type || coalesce(o.columns, '') as privilege, a.grantee, coalesce(r.rolname, 'public')::text as name, a.is_grantable
from object o
cross join lateral aclexplode(o.acl) a
left join pg_roles r on r.oid = a.grantee
where a.grantee <> o.owner
order by o.name collate "C", a.privilege_type collate "C", o.columns collate "C", r.rolname collate "C", a.is_grantable
