//! Pools: where they are, and which of them a volume's image lies in.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::Scope;
use crate::manifest::diag::{Sink, Span};
use crate::manifest::raw::{self, Field};
use crate::manifest::{codes, paths, suggest};
use crate::model::{Layout, Name, Pool};

/// The pools of a manifest, with the one under the state directory once it is needed.
pub(super) struct Pools<'a> {
    pools: BTreeMap<Name, Pool>,
    places: HashMap<&'a str, Span>,
    fallback: Option<&'a str>,
    layout: &'a Layout,
    /// Whether the manifest declares no pool: then there is `default`, under the state directory.
    none_declared: bool,
    /// Set once the choice between several was reported as open.
    undecided: bool,
}

/// The name of the pool under the state directory.
const DEFAULT: &str = "default";

/// The pools as declared, their paths made absolute and checked against each other.
pub(super) fn resolve<'a>(scope: &Scope<'a>, sink: &mut Sink) -> Pools<'a> {
    let raw = scope.raw;
    let mut pools = Pools {
        pools: BTreeMap::new(),
        places: HashMap::new(),
        fallback: None,
        layout: scope.context.layout,
        none_declared: raw.pools.is_empty(),
        undecided: false,
    };
    let mut by_path: HashMap<PathBuf, (&str, Span)> = HashMap::new();
    for pool in &raw.pools {
        pools.places.insert(pool.name, pool.at);
        let path = match pool.path.given() {
            Some((text, at)) => {
                let path = paths::normal(text, scope.context.base_dir);
                check_place(scope, pool, &path, at.value, sink);
                if let Some((other, other_at)) = by_path.insert(path.clone(), (pool.name, at.value)) {
                    sink.report(
                        codes::POOL_CONFLICT,
                        at.value,
                        format!("pool.{} and pool.{other} are the same directory", pool.name),
                    )
                    .label(format!("pool.{}", pool.name))
                    .also(other_at, format!("pool.{other}"))
                    .help("keep one of them: limit and reserve hold for a directory");
                }
                path
            }
            None => PathBuf::from("/"),
        };
        let limit = pool.limit.value().copied();
        pools.pools.insert(
            scope.name(pool.name),
            Pool { name: scope.name(pool.name), path, limit, reserve: pool.reserve.value().copied() },
        );
    }
    for pool in &raw.pools {
        check_nesting(&pools, pool, &by_path, sink);
    }
    pools.fallback = match &raw.default_pool {
        Field::Given(name, at) => {
            pools.check_name(name, "defaults", at.value, sink);
            Some(*name)
        }
        Field::Invalid(_) => {
            pools.undecided = true;
            None
        }
        Field::Absent => match &raw.pools[..] {
            [only] => Some(only.name),
            _ => None,
        },
    };
    pools
}

fn check_place(scope: &Scope<'_>, pool: &raw::Pool<'_>, path: &Path, at: Span, sink: &mut Sink) {
    let layout = scope.context.layout;
    let own = [layout.volumes(), layout.snapshots(), layout.locks(), layout.set_aside()];
    let why = if path == Path::new("/") {
        "is the root directory"
    } else if path.starts_with(&layout.run) {
        "lies in the run directory, which does not survive a boot"
    } else if path == layout.state || own.iter().any(|own| path.starts_with(own)) {
        "is a directory of csictl's own records"
    } else {
        return;
    };
    sink.report(codes::PATH_RESERVED, at, format!("pool.{}: {} {why}", pool.name, path.display()))
        .help("name a directory that holds nothing but images");
}

fn check_nesting(pools: &Pools<'_>, pool: &raw::Pool<'_>, by_path: &HashMap<PathBuf, (&str, Span)>, sink: &mut Sink) {
    let (Some((_, at)), Some(own)) = (pool.path.given(), pools.pools.get(pool.name)) else { return };
    if let Some((outer, outer_at)) = own.path.ancestors().skip(1).find_map(|ancestor| by_path.get(ancestor)) {
        sink.report(codes::POOL_CONFLICT, at.value, format!("pool.{} lies inside pool.{outer}", pool.name))
            .label(format!("pool.{}", pool.name))
            .also(*outer_at, format!("pool.{outer}"))
            .help("a pool holds nothing but images: put the two side by side");
    }
}

impl Pools<'_> {
    /// All pools, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Pool, Option<Span>)> {
        self.pools.values().map(|pool| (pool, self.places.get(pool.name.as_str()).copied()))
    }

    /// As the desired state holds them.
    pub fn into_map(self) -> BTreeMap<Name, Pool> {
        self.pools
    }

    /// The pool of images of which nobody says where they lie; `None` when that is left open.
    pub fn fallback(&self) -> Option<Name> {
        match self.fallback {
            Some(name) => name.parse().ok(),
            None if self.none_declared => Some(Layout::default_pool_name()),
            None => None,
        }
    }

    /// Reports a pool that is not declared; `object` named it.
    pub fn check_name(&self, name: &str, object: &str, at: Span, sink: &mut Sink) {
        let known = self.pools.contains_key(name) || (self.none_declared && name == DEFAULT);
        if !known {
            let affordable = sink.affords(self.pools.len());
            let error = sink.report(codes::UNKNOWN_POOL, at, format!("{object}: there is no pool '{name}'"));
            error.label("not declared");
            if affordable {
                error.help(suggest::help(name, self.pools.keys().map(Name::as_str), "pools"));
            }
        }
    }

    /// The pool of one volume: its own, its class's, that of the defaults, the only one, the one under the state directory.
    pub fn choose(&mut self, volume: &raw::Volume<'_>, class: Option<&raw::Settings<'_>>, sink: &mut Sink) -> Pool {
        let absent = Field::Absent;
        let of_class = class.map_or(&absent, |class| &class.pool);
        let name = match (&volume.settings.pool, of_class) {
            (Field::Given(name, at), _) => {
                self.check_name(name, &format!("volume.{}", volume.name), at.value, sink);
                Some(*name)
            }
            (Field::Absent, Field::Given(name, _)) => Some(*name),
            (Field::Absent, Field::Absent) => self.fallback,
            _ => return self.stand_in(),
        };
        match name {
            Some(name) if self.pools.contains_key(name) => self.pools[name].clone(),
            None | Some(DEFAULT) if self.none_declared && !self.undecided => {
                let pool = self.stand_in();
                self.pools.insert(pool.name.clone(), pool.clone());
                pool
            }
            Some(_) => self.stand_in(),
            None => {
                self.report_undecided(volume, sink);
                self.stand_in()
            }
        }
    }

    fn report_undecided(&mut self, volume: &raw::Volume<'_>, sink: &mut Sink) {
        // One cure serves every volume, so one report does.
        if std::mem::replace(&mut self.undecided, true) {
            return;
        }
        let names: Vec<&str> = self.pools.keys().map(Name::as_str).collect();
        let error = sink.report(
            codes::POOL_AMBIGUOUS,
            volume.at,
            format!("volume.{}: several pools, and none is named", volume.name),
        );
        error.label("which pool?").help(format!(
            "set pool here, in its class, or in [defaults]: {}",
            names.iter().take(12).copied().collect::<Vec<_>>().join(", ")
        ));
    }

    fn stand_in(&self) -> Pool {
        Pool { name: Layout::default_pool_name(), path: self.layout.default_pool(), limit: None, reserve: None }
    }
}
