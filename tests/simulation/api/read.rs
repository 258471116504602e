//! Lists and watches.

use super::*;

/// An open watch.
#[derive(Clone, Debug)]
pub struct Watch {
    pub kind: &'static Kind,
    ns: String,
    fields: String,
    labels: String,
    accept: String,
    /// Everything up to this revision was told.
    pub cursor: u64,
    /// Index in the log up to which nothing is left to tell.
    scanned: usize,
    pub bookmarks: bool,
    initial: Initial,
    /// It asked for a revision that is gone.
    gone: bool,
}

impl Api {
    /// All objects as they were at a revision.
    pub fn snapshot(&self, rv: u64) -> BTreeMap<Key, Obj> {
        let mut objs = self.objs.clone();
        for c in self.log.iter().rev().take_while(|c| c.rv > rv) {
            match &c.old {
                Some(o) => objs.insert(c.key.clone(), o.clone()),
                None => objs.remove(&c.key),
            };
        }
        objs
    }

    fn check_selector(kind: &Kind, fields: &str) -> Result<(), Resp> {
        for t in terms(fields) {
            let name = t.split(['=', '!']).next().unwrap_or("").to_string();
            if !matches!(name.as_str(), "metadata.name" | "metadata.namespace") && !kind.selectable.contains(&name) {
                return Err(failure(400, "BadRequest", &format!("field label not supported: {name}")));
            }
        }
        Ok(())
    }

    pub(super) fn list(&self, r: &Req, kind: &Kind, ns: &str, stale: u64) -> Answer {
        Self::check_selector(kind, r.q("fieldSelector"))?;
        let any = r.q("resourceVersion") == "0";
        let (at, after) = match r.q("continue").split_once(':') {
            Some((rv, after)) => (rv.parse().unwrap_or(0), Some(after.to_string())),
            None => (if any { stale.max(self.compacted) } else { self.rv }, None),
        };
        if at < self.compacted {
            return Err(failure(
                410,
                "Expired",
                "The provided continue parameter is too old to display a consistent list result.",
            ));
        }
        let old = (at < self.rv).then(|| self.snapshot(at));
        let objs = old.as_ref().unwrap_or(&self.objs);
        let id = |k: &Key| format!("{}/{}", k.ns, k.name);
        let first = Key { res: kind.plural, ns: String::new(), name: String::new() };
        let mut hits = objs.range(first..).take_while(|(k, _)| k.res == kind.plural).filter(|(k, v)| {
            (ns.is_empty() || k.ns == ns)
                && selected(v, r.q("fieldSelector"), r.q("labelSelector"))
                && after.as_ref().is_none_or(|a| id(k) > *a)
        });
        // The watch cache, which answers "any", ignores the limit.
        let limit = if any { usize::MAX } else { r.q("limit").parse().ok().filter(|n| *n > 0).unwrap_or(usize::MAX) };
        let page: Vec<_> = hits.by_ref().take(limit).collect();
        let more = hits.count();
        let mut meta = json!({"resourceVersion": at.to_string()});
        if let (true, Some((k, _))) = (more > 0, page.last()) {
            meta["continue"] = json!(format!("{at}:{}", id(k)));
            if r.q("fieldSelector").is_empty() && r.q("labelSelector").is_empty() {
                meta["remainingItemCount"] = json!(more);
            }
        }
        let items: Vec<Value> = page.iter().map(|(_, v)| partial(&r.accept, (***v).clone())).collect();
        let (list, gv) = match r.accept.contains("as=PartialObjectMetadata") {
            true => ("PartialObjectMetadataList".into(), "meta.k8s.io/v1"),
            false => (format!("{}List", kind.kind), kind.gv.as_str()),
        };
        ok(200, json!({"kind": list, "apiVersion": gv, "metadata": meta, "items": items}))
    }

    /// Opens a watch. Without a resourceVersion, with "0", or when initial events are asked for, it starts with one
    /// ADDED an object.
    pub fn watch(&self, r: &Req) -> Result<Watch, Resp> {
        let Target::List { kind, ns } = self.target(&r.path)? else {
            return Err(failure(400, "BadRequest", "only a watch of a collection is modelled"));
        };
        Self::check_selector(kind, r.q("fieldSelector"))?;
        let streaming = r.q("sendInitialEvents") == "true";
        let rv: u64 = r.q("resourceVersion").parse().unwrap_or(0);
        let from_now = rv == 0 || streaming;
        let cursor = if from_now { self.rv } else { rv };
        let mut w = Watch {
            kind,
            ns,
            fields: r.q("fieldSelector").into(),
            labels: r.q("labelSelector").into(),
            accept: r.accept.clone(),
            cursor,
            scanned: self.log.partition_point(|c| c.rv <= cursor),
            bookmarks: r.q("allowWatchBookmarks") == "true",
            initial: Initial::new(),
            gone: cursor < self.compacted,
        };
        if from_now {
            let known = self.objs.iter().filter(|(k, v)| {
                k.res == kind.plural && (w.ns.is_empty() || k.ns == w.ns) && selected(v, &w.fields, &w.labels)
            });
            w.initial =
                known.map(|(_, v)| json!({"type": "ADDED", "object": partial(&w.accept, (**v).clone())})).collect();
            if streaming {
                let mut end = self.bookmark(&w);
                end["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
                w.initial.push_back(end);
            }
        }
        Ok(w)
    }

    fn event_of(w: &Watch, c: &Change) -> Option<&'static str> {
        if c.key.res != w.kind.plural || !(w.ns.is_empty() || c.key.ns == w.ns) {
            return None;
        }
        let hit = |v: &Option<Obj>| v.as_ref().is_some_and(|v| selected(v, &w.fields, &w.labels));
        match (hit(&c.old), hit(&c.new)) {
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
            (false, false) => None,
        }
    }

    /// Whether the watch has something to tell.
    pub fn has_event(&self, w: &mut Watch) -> bool {
        if !w.initial.is_empty() || w.gone {
            return true;
        }
        while w.scanned < self.log.len() && Self::event_of(w, &self.log[w.scanned]).is_none() {
            w.scanned += 1;
        }
        w.scanned < self.log.len()
    }

    /// The next event. A revision that is gone is an ERROR inside the stream, as from the real server.
    pub fn next_event(&self, w: &mut Watch) -> Option<Value> {
        if let Some(e) = w.initial.pop_front() {
            return Some(e);
        }
        if w.gone {
            return Some(self.gone());
        }
        if !self.has_event(w) {
            return None;
        }
        let c = &self.log[w.scanned];
        let kind = Self::event_of(w, c)?;
        w.scanned += 1;
        w.cursor = c.rv;
        Some(json!({"type": kind, "object": partial(&w.accept, (*c.last).clone())}))
    }

    /// The ERROR event for a revision that is gone.
    pub fn gone(&self) -> Value {
        json!({"type": "ERROR", "object": failure(410, "Expired", "too old resource version").body})
    }

    /// A bookmark: everything up to now was told.
    pub fn bookmark(&self, w: &Watch) -> Value {
        let (kind, gv) = match w.accept.contains("as=PartialObjectMetadata") {
            true => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            false => (w.kind.kind.as_str(), w.kind.gv.as_str()),
        };
        json!({"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": gv, "metadata": {"resourceVersion": self.rv.to_string()}}})
    }

    /// Forgets all revisions before now.
    pub fn compact(&mut self) {
        self.compacted = self.rv;
    }
}
