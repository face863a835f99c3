//! The data folder: can it be written, is there room, how long does an fsync take.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracewell_server::config::Config;

use super::{Finding, Outcome};
use crate::table::{duration, size};

/// An acknowledgement waits for one of these.
const FSYNC_GOOD: Duration = Duration::from_millis(25);

/// Fsyncs that are measured.
const SAMPLES: usize = 9;

/// Looks at the data folder of the configuration.
pub fn check(config: &Config, server_runs: bool) -> Vec<Finding> {
    let folder = &config.data_dir;
    let place = existing(folder);
    let (free, sync) = (free_space(&place), fsync_median(&place));
    let mut findings = vec![match &sync {
        Ok(_) if folder.is_dir() => {
            Finding::new("data folder", Outcome::Good, format!("{} can be written", folder.display()))
        }
        Ok(_) => Finding::new("data folder", Outcome::Good, format!("{} will be created", folder.display())),
        Err(error) => {
            Finding::new("data folder", Outcome::Bad, format!("{} cannot be written: {error}", folder.display()))
                .advice("give this user the right to write there, or choose another folder with --data-dir")
        }
    }];
    let need = config.store.disk_free_bytes_min;
    findings.push(match free {
        Ok(free) if free < need => {
            Finding::new("free disk", Outcome::Bad, format!("{}, spans are refused below {}", size(free), size(need)))
                .advice("make room, or set retention.size in the configuration")
        }
        Ok(free) if free < need.saturating_mul(8) => Finding::new("free disk", Outcome::Warning, size(free))
            .advice(format!("spans are refused below {}; make room, or set retention.size", size(need))),
        Ok(free) => Finding::new("free disk", Outcome::Good, size(free)),
        Err(error) => Finding::new("free disk", Outcome::Warning, format!("not known: {error}")),
    });
    if let Ok(median) = sync {
        let seen = format!(
            "median {} of {SAMPLES}{}",
            duration(median.as_nanos() as u64),
            if server_runs { ", beside the running server" } else { "" }
        );
        findings.push(if median <= FSYNC_GOOD {
            Finding::new("fsync", Outcome::Good, seen)
        } else {
            Finding::new("fsync", Outcome::Warning, seen).advice(
                "every acknowledgement waits for one; put the data folder on a local SSD if senders must not wait",
            )
        });
    }
    findings
}

/// The folder itself, or the nearest one above it that exists.
fn existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(|folder| folder.is_dir()).map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

fn free_space(folder: &Path) -> std::io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

fn fsync_median(folder: &Path) -> std::io::Result<Duration> {
    let mut file = tempfile::Builder::new().prefix(".tracewell-doctor-").tempfile_in(folder)?;
    let block = [0x54u8; 4096];
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        file.write_all(&block)?;
        let start = Instant::now();
        file.as_file().sync_data()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[SAMPLES / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: folder.path().join("a/b"), ..Config::default() };
        config.store.disk_free_bytes_min = 1;
        let findings = check(&config, false);
        assert!(findings[0].seen.ends_with("will be created"), "{findings:?}");
        assert_eq!(findings.len(), 3);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
