//! The moments at which a daemon is killed: when the kernel's maps have come so far.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aya::maps::{Array, Map, MapData};
use balancer_common::abi;
use balancer_tests::lab::{Balancer, program};

/// Bytes of a name in the kernel.
const NAME: usize = 64;

/// When a daemon that applies a configuration is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// So long after the order.
    After(Duration),
    /// When the backend with this number among those that come has a name.
    BackendCame(usize),
    /// When the service with this number among those that come has a name.
    ServiceCame(usize),
    /// When the service with this number among those that go has none.
    ServiceWent(usize),
    /// When the backend with this number among those that go has none.
    BackendWent(usize),
}

/// The names in the kernel, which say what there is.
pub(super) struct Names {
    services: Array<MapData, [u8; NAME]>,
    backends: Array<MapData, [u8; NAME]>,
}

/// All names at one time, by index.
pub(super) struct Named {
    services: Vec<[u8; NAME]>,
    backends: Vec<[u8; NAME]>,
}

impl Names {
    /// Opens what a daemon has pinned.
    pub(super) fn open(pins: &Path) -> Self {
        let open = |map| {
            let path = pins.join(format!("v{}/maps/{map}", abi::VERSION));
            let data = MapData::from_pin(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Array::try_from(Map::Array(data)).expect("names are an array")
        };
        Self {
            services: open("SERVICE_NAMES"),
            backends: open("BACKEND_NAMES"),
        }
    }

    /// Reads all of them.
    pub(super) fn read(&self) -> Named {
        let all = |names: &Array<MapData, _>| names.iter().collect::<Result<_, _>>().expect("an array can be read");
        Named {
            services: all(&self.services),
            backends: all(&self.backends),
        }
    }
}

impl Named {
    /// How many are not what they were.
    pub(super) fn differences(&self, before: &Self) -> usize {
        let differ = |now: &[[u8; NAME]], before: &[[u8; NAME]]| now.iter().zip(before).filter(|(a, b)| a != b).count();
        differ(&self.services, &before.services) + differ(&self.backends, &before.backends)
    }
}

/// Indices that are free, ascending: the first ones are taken first. Index 0 never is.
fn free(names: &[[u8; NAME]]) -> impl Iterator<Item = u32> {
    let indexed = (0..).zip(names).skip(1);
    indexed.filter(|(_, name)| name[0] == 0).map(|(index, _)| index)
}

/// Indices of what goes, ascending, when a configuration follows that says `next`.
fn leaving(names: &[[u8; NAME]], next: &str) -> impl Iterator<Item = u32> {
    let goes = move |name: &[u8; NAME]| {
        let text = String::from_utf8_lossy(name);
        let text = text.trim_end_matches('\0');
        !text.is_empty() && !next.contains(&format!("name = \"{text}\"\n"))
    };
    let indexed = (0..).zip(names);
    indexed.filter(move |(_, name)| goes(name)).map(|(index, _)| index)
}

impl Moment {
    /// Has the daemon apply the file at `next`, and kills it when the moment has come or the daemon has finished.
    pub(super) fn kill_during(self, balancer: &mut Balancer<'_>, next: &Path, names: &Names, before: &Named) {
        let text = std::fs::read_to_string(next).expect("the file is there");
        let mut has_come: Box<dyn FnMut() -> bool> = match self {
            Self::After(delay) => {
                let begun = Instant::now();
                Box::new(move || begun.elapsed() >= delay)
            }
            Self::BackendCame(number) => came(&names.backends, free(&before.backends).nth(number)),
            Self::ServiceCame(number) => came(&names.services, free(&before.services).nth(number)),
            Self::ServiceWent(number) => went(&names.services, leaving(&before.services, &text).nth(number)),
            Self::BackendWent(number) => went(&names.backends, leaving(&before.backends, &text).nth(number)),
        };
        let mut apply = Command::new(program("balancer"))
            .arg("--socket")
            .arg(&balancer.settings.socket)
            .arg("apply")
            .arg(next)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command can be run");
        while !has_come() && apply.try_wait().expect("a child can be waited for").is_none() {}
        balancer.kill();
        apply.wait().expect("a child can be waited for");
    }
}

/// Whether an index has a name.
fn is_named(names: &Array<MapData, [u8; NAME]>, index: u32) -> bool {
    names.get(&index, 0).expect("an array can be read")[0] != 0
}

fn came(names: &Array<MapData, [u8; NAME]>, index: Option<u32>) -> Box<dyn FnMut() -> bool + '_> {
    let index = index.expect("there is room");
    Box::new(move || is_named(names, index))
}

fn went(names: &Array<MapData, [u8; NAME]>, index: Option<u32>) -> Box<dyn FnMut() -> bool + '_> {
    let index = index.expect("so many go");
    Box::new(move || !is_named(names, index))
}
