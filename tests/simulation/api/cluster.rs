//! What the controller manager does, one small step at a time: garbage collection and the end of namespaces.

use super::*;

/// One step of the cluster's own controllers.
#[derive(Clone, Debug, PartialEq)]
pub enum Cluster {
    /// The garbage collector deletes an object, or takes its `foregroundDeletion` away.
    Collect(Key),
    /// The namespace controller deletes an object of a namespace that ends.
    Empty(Key),
    /// The namespace is empty and goes.
    Gone(String),
}

impl Api {
    /// The steps that could be taken now, in a stable order.
    pub fn cluster_steps(&self) -> Vec<Cluster> {
        let mut out = vec![];
        let with_uid = |uid: &Value| self.objs.values().find(|v| v["metadata"]["uid"] == *uid);
        for (k, v) in &self.objs {
            let refs = owners(v);
            if refs.is_empty() && !deleting(v) {
                continue;
            }
            let orphaned = !refs.is_empty() && refs.iter().all(|o| with_uid(&o["uid"]).is_none());
            let foreground = |o: &Value| deleting(o) && finalizers(o).contains(&"foregroundDeletion");
            let with_owner = refs.iter().any(|o| with_uid(&o["uid"]).is_some_and(|p| foreground(p)));
            if (orphaned || with_owner) && !deleting(v) {
                out.push(Cluster::Collect(k.clone()));
            }
            if foreground(v)
                && !self.objs.values().any(|c| {
                    owners(c).iter().any(|o| o["uid"] == v["metadata"]["uid"] && o["blockOwnerDeletion"] == true)
                })
            {
                out.push(Cluster::Collect(k.clone()));
            }
            if k.res == "namespaces" && deleting(v) {
                let inside: Vec<_> = self.objs.iter().filter(|(x, _)| x.ns == k.name).collect();
                if inside.is_empty() {
                    out.push(Cluster::Gone(k.name.clone()));
                }
                out.extend(inside.iter().filter(|(_, v)| !deleting(v)).map(|(x, _)| Cluster::Empty((*x).clone())));
            }
        }
        out
    }

    /// Takes one step.
    pub fn cluster_step(&mut self, step: &Cluster) {
        match step {
            Cluster::Empty(k) => {
                let _ = self.delete(k, &Value::Null);
                // Nobody watches Events: all of them at once, to keep schedules short.
                if k.res == "events" {
                    let rest: Vec<Key> =
                        self.objs.keys().filter(|x| x.res == "events" && x.ns == k.ns).cloned().collect();
                    rest.iter().for_each(|x| self.remove(x));
                }
            }
            Cluster::Gone(name) => self.remove(&Key { res: "namespaces", ns: String::new(), name: name.clone() }),
            Cluster::Collect(k) => {
                let Some(v) = self.objs.get(k).cloned() else { return };
                if !deleting(&v) {
                    let _ = self.delete(k, &Value::Null);
                    return;
                }
                let left: Vec<&str> = finalizers(&v).into_iter().filter(|f| *f != "foregroundDeletion").collect();
                let left = json!(left);
                let _ = self.update(kind_of(k.res), k, None, |v| {
                    v["metadata"]["finalizers"] = left;
                    Ok(())
                });
            }
        }
    }
}
