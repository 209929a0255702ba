//! Cuts what was compiled into slices: of all policies those that can matter where a reporter stands.
//!
//! INVARIANT: for a request that a reporter is asked about, no policy is left out that could change the answer.
//! A slice is cut once for all reporters that stand alike, and so is the delta from one slice to the next.

mod bearing;
mod delta;
mod standpoint;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::EntityUid;
use parking_lot::Mutex;
use tollgate_api::v1;

pub(crate) use self::bearing::Bearing;
pub use self::standpoint::Standpoint;
use crate::compile::{Compiled, Digest, Mode, PolicyEntry, PolicyKind, of_text};
use crate::world::{Place, World};

/// Most slices, and most deltas, that are remembered. All are forgotten when there are more, and made anew when asked for.
const REMEMBERED_MAX: usize = 4_096;

/// All policies of a directory, ready to be cut.
pub struct Slices {
    pieces: Vec<Piece>,
    bearings: Vec<Arc<Bearing>>,
    /// Places of the policies whose resource is one entity, or in one.
    by_resource: HashMap<EntityUid, Vec<usize>>,
    /// Places of all others.
    of_any_resource: Vec<usize>,
    world: World,
    entities: Arc<Entities>,
    mode: Mode,
    headers: Vec<String>,
    /// Names of those that are declared.
    lists: Vec<Arc<str>>,
    all: Arc<Slice>,
    cut: Mutex<HashMap<Standpoint, Arc<Slice>>>,
    deltas: Mutex<HashMap<[String; 2], Arc<v1::PoliciesDelta>>>,
}

/// The policies that can matter where a reporter stands.
#[derive(Debug, Clone)]
pub struct Slice {
    digest: String,
    pieces: Vec<Piece>,
    /// How many of the pieces are access policies, which come first.
    access: usize,
    entities: Arc<Entities>,
    observe: bool,
    observed_services: Vec<String>,
    headers: Vec<String>,
    lists: Vec<Arc<str>>,
}

/// One policy as reporters get it.
#[derive(Debug, Clone)]
struct Piece {
    /// Of kind, id and text.
    fingerprint: u128,
    kind: PolicyKind,
    policy: Arc<v1::Policy>,
}

/// Entities and their schema, the same for everybody.
#[derive(Debug)]
struct Entities {
    fingerprint: u128,
    proto: v1::Entities,
}

impl Slices {
    /// Of a directory. What was cut before only saves work.
    ///
    /// # Errors
    /// When the entities cannot be read again, which only a schema of another version can bring about.
    pub fn new(compiled: &Compiled, before: Option<&Self>) -> Result<Self, String> {
        let proto = v1::Entities {
            entities_json: compiled.entities_json.clone(),
            schema_json: compiled.entity_schema_json.clone(),
        };
        let same = before.map(|before| &before.entities).filter(|before| before.proto == proto);
        let new = || Arc::new(Entities { fingerprint: of_text(&proto.entities_json), proto: proto.clone() });
        let entities = same.map_or_else(new, Arc::clone);
        let known = before.map(|before| before.world.clone()).unwrap_or_default();
        let world = World::read(&entities.proto, &known)?;
        let before: HashMap<_, _> =
            before.iter().flat_map(|before| &before.pieces).map(|piece| (piece.fingerprint, &piece.policy)).collect();
        let pieces: Vec<_> = compiled.policies.iter().map(|policy| piece(policy, &before)).collect();
        let bearings: Vec<_> = compiled.policies.iter().map(|policy| Arc::clone(&policy.bearing)).collect();
        let (mut by_resource, mut of_any_resource) = (HashMap::<_, Vec<_>>::new(), Vec::new());
        for (place, bearing) in bearings.iter().enumerate() {
            match bearing.resource.entity() {
                Some(uid) => by_resource.entry(uid.clone()).or_default().push(place),
                None => of_any_resource.push(place),
            }
        }
        let headers: BTreeSet<_> = bearings.iter().flat_map(|bearing| bearing.headers.iter()).collect();
        let headers = headers.into_iter().map(ToString::to_string).collect();
        let mode = compiled.mode.clone();
        let lists: Vec<_> = compiled.lists.iter().map(|list| Arc::from(list.name.as_str())).collect();
        let all = Slice { lists: lists.clone(), ..Slice::new(pieces.clone(), &entities, &mode, Vec::new()) };
        Ok(Self {
            pieces,
            bearings,
            by_resource,
            of_any_resource,
            world,
            entities,
            mode,
            headers,
            lists,
            all: Arc::new(all),
            cut: Mutex::default(),
            deltas: Mutex::default(),
        })
    }

    /// All policies.
    #[must_use]
    pub fn all(&self) -> &Arc<Slice> {
        &self.all
    }

    /// What can matter to a reporter that stands there; all policies for one that is asked about every service.
    #[must_use]
    pub fn cut(&self, standpoint: Option<&Standpoint>) -> Arc<Slice> {
        let Some(standpoint) = standpoint else { return Arc::clone(&self.all) };
        // Held while it is cut, so that of many reporters that ask at once one does the work.
        let mut cut = self.cut.lock();
        if let Some(slice) = cut.get(standpoint) {
            return Arc::clone(slice);
        }
        if cut.len() >= REMEMBERED_MAX {
            cut.clear();
        }
        let slice = Arc::new(self.cut_anew(standpoint));
        cut.insert(standpoint.clone(), Arc::clone(&slice));
        slice
    }

    fn cut_anew(&self, standpoint: &Standpoint) -> Slice {
        let places = |services: &[String]| services.iter().map(|name| self.world.service(name)).collect::<Vec<_>>();
        let called = places(&standpoint.called);
        let (calling, calls) = (places(&standpoint.calling), places(&standpoint.calls));
        let mut kept: Vec<_> = called
            .iter()
            .chain(&calls)
            .flat_map(Place::itself_and_above)
            .filter_map(|uid| self.by_resource.get(uid))
            .chain([&self.of_any_resource])
            .flatten()
            .copied()
            .collect();
        kept.sort_unstable();
        kept.dedup();
        kept.retain(|place| self.bearings[*place].may_matter(&called, &calling, &calls));
        let sees_all_headers = kept.iter().any(|place| self.bearings[*place].sees_all_headers);
        let headers = if sees_all_headers { self.headers.clone() } else { Vec::new() };
        let has = |service: &String| standpoint.called.contains(service) || standpoint.calls.contains(service);
        let mode = Mode {
            observe: self.mode.observe,
            observed_services: self.mode.observed_services.iter().filter(|service| has(service)).cloned().collect(),
        };
        let bearings = || kept.iter().map(|place| &self.bearings[*place]);
        let sees_all_lists = bearings().any(|bearing| bearing.sees_all_lists);
        let named: BTreeSet<_> = bearings().flat_map(|bearing| bearing.lists.iter().cloned()).collect();
        let lists = if sees_all_lists { self.lists.clone() } else { named.into_iter().collect() };
        let pieces = kept.iter().map(|place| self.pieces[*place].clone()).collect();
        Slice { lists, ..Slice::new(pieces, &self.entities, &mode, headers) }
    }

    /// What makes one slice of another. The last one has to be of these policies.
    #[must_use]
    pub fn delta(&self, from: &Slice, to: &Slice) -> Arc<v1::PoliciesDelta> {
        let key = [from.digest.clone(), to.digest.clone()];
        let mut deltas = self.deltas.lock();
        if let Some(delta) = deltas.get(&key) {
            return Arc::clone(delta);
        }
        if deltas.len() >= REMEMBERED_MAX {
            deltas.clear();
        }
        let delta = Arc::new(delta::between(from, to));
        deltas.insert(key, Arc::clone(&delta));
        delta
    }
}

impl std::fmt::Debug for Slices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slices").field("digest", &self.all.digest).finish_non_exhaustive()
    }
}

fn piece(policy: &PolicyEntry, before: &HashMap<u128, &Arc<v1::Policy>>) -> Piece {
    let same = before.get(&policy.fingerprint).filter(|before| before.origin == policy.origin);
    let new = || {
        let (id, text, origin) = (policy.id.to_string(), policy.text.clone(), policy.origin.clone());
        Arc::new(v1::Policy { id, text, origin })
    };
    let shared = same.map_or_else(new, |policy| Arc::clone(policy));
    Piece { fingerprint: policy.fingerprint, kind: policy.kind, policy: shared }
}

impl Slice {
    fn new(pieces: Vec<Piece>, entities: &Arc<Entities>, mode: &Mode, headers: Vec<String>) -> Self {
        let mut digest = Digest::of(pieces.iter().map(|piece| piece.fingerprint), entities.fingerprint, mode);
        if !headers.is_empty() {
            digest.feed_all(&headers);
        }
        Self {
            digest: digest.to_string(),
            access: pieces.iter().filter(|piece| piece.kind == PolicyKind::Access).count(),
            pieces,
            entities: Arc::clone(entities),
            observe: mode.observe,
            observed_services: mode.observed_services.clone(),
            headers,
            lists: Vec::new(),
        }
    }

    /// Names of the lists that these policies read.
    #[must_use]
    pub fn lists(&self) -> &[Arc<str>] {
        &self.lists
    }

    /// Changes exactly when one of these policies, an entity or a mode changes.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How many policies there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The access policies, in order.
    pub fn access(&self) -> impl Iterator<Item = &v1::Policy> {
        self.pieces[..self.access].iter().map(|piece| &*piece.policy)
    }

    /// The shaping policies, in order.
    pub fn shaping(&self) -> impl Iterator<Item = &v1::Policy> {
        self.pieces[self.access..].iter().map(|piece| &*piece.policy)
    }

    /// The entities, as Cedar's JSON without signals.
    #[must_use]
    pub fn entities_json(&self) -> &str {
        &self.entities.proto.entities_json
    }

    /// Whether everything is observed and nothing enforced.
    #[must_use]
    pub fn observe(&self) -> bool {
        self.observe
    }

    /// Services for which nothing is enforced.
    #[must_use]
    pub fn observed_services(&self) -> &[String] {
        &self.observed_services
    }

    /// All of it, as reporters get it that hold nothing.
    #[must_use]
    pub fn to_proto(&self) -> v1::Policies {
        v1::Policies {
            digest: self.digest.clone(),
            access: self.access().cloned().collect(),
            shaping: self.shaping().cloned().collect(),
            entities_json: self.entities.proto.entities_json.clone(),
            observe: self.observe,
            observed_services: self.observed_services.clone(),
            schema_json: self.entities.proto.schema_json.clone(),
            headers: self.headers.clone(),
        }
    }
}
