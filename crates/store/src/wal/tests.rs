//! The log under every failure of the file system.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;

use super::sim::{Fault, SimFs};
use super::*;
use crate::table::Signal;

const DIR: &str = "/wal";

/// What became of a request: its frame number, or why not.
type Outcome = (u64, Result<u64, Refusal>);

struct Report(Sender<Outcome>);

impl Consumer<u64> for Report {
    fn durable(&mut self, group: Vec<Frame<u64>>) {
        for frame in group {
            self.0.send((frame.submission.ticket, Ok(frame.number))).ok();
        }
    }

    fn refused(&mut self, group: Vec<Submission<u64>>, refusal: &Refusal) {
        for submission in group {
            self.0.send((submission.ticket, Err(refusal.clone()))).ok();
        }
    }
}

fn payload(ticket: u64) -> Bytes {
    let length = 10 + (ticket * 37 % 90) as usize;
    ticket.to_le_bytes().iter().copied().cycle().take(length).collect::<Vec<_>>().into()
}

fn open(fs: &SimFs, file_bytes: u64, free_bytes_min: u64) -> (Wal<u64>, Receiver<Outcome>, Replay) {
    let replayed = replay(fs, Path::new(DIR), &mut |_| {}).unwrap();
    let (sender, receiver) = channel();
    let config = WalConfig { dir: PathBuf::from(DIR), group_bytes: 1 << 20, file_bytes, free_bytes_min };
    let (files, next) = (replayed.files.clone(), replayed.next_frame);
    let mut salt = 1000;
    let salt = Box::new(move || {
        salt += 1;
        salt
    });
    let wal = Wal::start(Arc::new(fs.clone()), config, files, next, Arc::new(|| 7), salt, Box::new(Report(sender)));
    (wal.unwrap(), receiver, replayed)
}

fn submission(ticket: u64) -> Submission<u64> {
    let signal = if ticket.is_multiple_of(3) { Signal::Logs } else { Signal::Traces };
    Submission { tenant: Arc::from(format!("tenant-{}", ticket % 2)), signal, payload: payload(ticket), ticket }
}

fn submit(wal: &Wal<u64>, receiver: &Receiver<Outcome>, ticket: u64) -> Result<u64, Refusal> {
    wal.submit(submission(ticket)).unwrap();
    let (done, outcome) = receiver.recv().unwrap();
    assert_eq!(done, ticket);
    outcome
}

/// Frame number → payload of everything that replay finds, and its report.
fn read_all(fs: &SimFs) -> (BTreeMap<u64, Vec<u8>>, ReplayReport) {
    let mut found = BTreeMap::new();
    let mut last = 0;
    let outcome = replay(fs, Path::new(DIR), &mut |frame| {
        assert!(frame.number > last, "frames come in order, each once");
        last = frame.number;
        found.insert(frame.number, frame.payload.to_vec());
    });
    (found, outcome.unwrap().report)
}

/// Appends twelve requests over several files, giving up what is below `trimmed` on the way; returns what was
/// acknowledged (number → ticket), what was refused, and the number up to which files may be gone.
fn workload(fs: &SimFs) -> (BTreeMap<u64, u64>, Vec<u64>, u64) {
    let (mut acknowledged, mut refused, mut needed) = (BTreeMap::new(), Vec::new(), 0);
    let (wal, receiver, _) = open(fs, 300, 0);
    for ticket in 1..=12 {
        match submit(&wal, &receiver, ticket) {
            Ok(number) => {
                assert_eq!(acknowledged.insert(number, ticket), None, "a number is given once");
            }
            Err(_) => refused.push(ticket),
        }
        if ticket == 8 {
            needed = acknowledged.keys().nth(2).copied().unwrap_or(0);
            // A failed trim costs disk, nothing else; the next one tries again.
            wal.trim(needed).ok();
        }
    }
    wal.stop();
    (acknowledged, refused, needed)
}

#[test]
fn whatever_fails_at_whatever_step_the_acknowledged_is_read_back_once() {
    let clean = SimFs::new(1);
    let (acknowledged, refused, _) = workload(&clean);
    assert_eq!((acknowledged.len(), refused.len()), (12, 0));
    let steps = clean.operations();
    assert!(steps > 40, "{steps}");

    for fault in [Fault::Short, Fault::Full, Fault::Broken, Fault::Crash] {
        for step in 0..steps {
            for power_loss in [true, false] {
                let case = format!("{fault:?} at operation {step}, power loss {power_loss}");
                let fs = SimFs::new(step + 99);
                fs.fail_at(step, fault);
                let (acknowledged, refused, needed) = workload(&fs);
                if power_loss {
                    fs.power_loss()
                } else {
                    fs.kill()
                }

                let (found, report) = read_all(&fs);
                for (number, ticket) in acknowledged.range(needed..) {
                    assert_eq!(found.get(number), Some(&payload(*ticket).to_vec()), "{case}: lost {ticket}");
                }
                // A crash leaves open whether the request under way is stored; an error never does.
                if fault != Fault::Crash {
                    for ticket in &refused {
                        let stored = found.values().any(|stored| *stored == payload(*ticket));
                        assert!(!stored, "{case}: {ticket} was refused and is there");
                    }
                    assert_eq!(report.missing_frames, 0, "{case}: {report:?}");
                }
                match fault {
                    Fault::Short => assert!(refused.is_empty(), "{case}"),
                    Fault::Full => assert!(refused.len() <= 1, "{case}: a full disk is passing: {refused:?}"),
                    Fault::Broken | Fault::Crash => {}
                }

                // The next start goes on behind what is there.
                let (wal, receiver, replayed) = open(&fs, 300, 0);
                let number = submit(&wal, &receiver, 100).unwrap();
                assert!(acknowledged.keys().all(|old| *old < number), "{case}");
                assert!(replayed.report.torn_bytes == 0, "{case}: the first replay has cut the tail");
                wal.stop();
                fs.power_loss();
                let (found, _) = read_all(&fs);
                assert_eq!(found.get(&number), Some(&payload(100).to_vec()), "{case}");
                for (number, ticket) in acknowledged.range(needed..) {
                    assert_eq!(found.get(number), Some(&payload(*ticket).to_vec()), "{case}: lost {ticket} later");
                }
            }
        }
    }
}

fn filled(file_bytes: u64) -> (SimFs, Vec<PathBuf>) {
    let fs = SimFs::new(5);
    let (wal, receiver, _) = open(&fs, file_bytes, 0);
    for ticket in 1..=10 {
        submit(&wal, &receiver, ticket).unwrap();
    }
    wal.stop();
    let mut names: Vec<PathBuf> =
        fs.list(Path::new(DIR)).unwrap().into_iter().map(|entry| Path::new(DIR).join(entry.name)).collect();
    names.sort();
    (fs, names)
}

#[test]
fn a_torn_last_frame_costs_that_frame_and_is_cut_off() {
    let (fs, names) = filled(1 << 20);
    let path = names.last().unwrap();
    let mut length = 0;
    fs.tamper(path, |bytes| length = bytes.len());
    let last_frame = format::FRAME_HEAD_BYTES + "tenant-0".len() + payload(10).len();
    for cut in 1..last_frame {
        let torn = fs.fork();
        torn.tamper(path, |bytes| bytes.truncate(length - cut));
        let (found, report) = read_all(&torn);
        assert_eq!(found.len(), 9);
        assert_eq!(report.torn_bytes, (last_frame - cut) as u64);
        assert_eq!(read_all(&torn).1.torn_bytes, 0, "cut off for good");
    }
}

#[test]
fn a_flipped_bit_costs_at_most_the_frame_that_it_is_in() {
    let (fs, names) = filled(1 << 20);
    let path = &names[0];
    let mut length = 0;
    fs.tamper(path, |bytes| length = bytes.len());
    for at in 0..length {
        let damaged = fs.fork();
        damaged.tamper(path, |bytes| bytes[at] ^= 0x04);
        let (found, report) = read_all(&damaged);
        let lost = 10 - found.len();
        assert_eq!(lost, usize::from(at >= format::PREAMBLE_BYTES), "byte {at}");
        assert!(found.iter().all(|(number, stored)| *stored == payload(*number).to_vec()));
        assert_eq!(report.findings.is_empty(), lost == 0, "byte {at}: {report:?}");
        // In the middle it is called damage and counted; at the very end it cannot be told from a torn write.
        assert_eq!(report.missing_frames + u64::from(report.torn_bytes > 0), lost as u64, "byte {at}: {report:?}");
    }
}

#[test]
fn a_file_that_could_not_be_read_in_full_is_kept_aside_not_deleted() {
    let (fs, names) = filled(300);
    assert!(names.len() >= 3);
    fs.tamper(&names[0], |bytes| bytes[format::PREAMBLE_BYTES + 40] ^= 1);
    fs.tamper(&names[1], |bytes| bytes[..format::PREAMBLE_BYTES].fill(0));
    let (wal, receiver, replayed) = open(&fs, 300, 0);
    assert!(replayed.report.missing_frames > 1, "{:?}", replayed.report);
    let number = submit(&wal, &receiver, 11).unwrap();
    wal.trim(number).unwrap();
    wal.stop();
    let left: Vec<String> = fs.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(left.iter().filter(|name| name.ends_with(".damaged")).count(), 2, "{left:?}");
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_file_that_is_missing_is_told() {
    let (fs, names) = filled(300);
    fs.remove(&names[1]).unwrap();
    let (found, report) = read_all(&fs);
    assert_eq!(report.missing_frames, 10 - found.len() as u64);
    assert!(report.findings[0].contains("are missing before"), "{report:?}");
}

#[test]
fn a_full_disk_refuses_and_resumes_by_itself() {
    let fs = SimFs::new(8);
    fs.set_capacity(Some(900));
    let (wal, receiver, _) = open(&fs, 1 << 20, 0);
    let mut stored = BTreeMap::new();
    let mut refusals = 0;
    for ticket in 1..=40 {
        match submit(&wal, &receiver, ticket) {
            Ok(number) => {
                stored.insert(number, ticket);
            }
            Err(refusal) => {
                assert!(refusal.passing, "{refusal:?}");
                assert!(refusal.reason.contains("full"), "{refusal:?}");
                assert!(wal.status().refusal.is_some());
                refusals += 1;
                if refusals % 3 == 0 {
                    fs.set_capacity(Some(900 + refusals * 400));
                }
            }
        }
    }
    assert!(refusals > 3 && stored.len() > 20, "{refusals} refused, {} stored", stored.len());
    wal.stop();
    fs.power_loss();
    let (found, report) = read_all(&fs);
    assert_eq!(found.len(), stored.len(), "exactly what was acknowledged: {report:?}");
    stored.iter().for_each(|(number, ticket)| assert_eq!(found[number], payload(*ticket)));
}

#[test]
fn writing_stops_before_the_disk_is_full() {
    let fs = SimFs::new(8);
    fs.set_capacity(Some(10_000));
    let (wal, receiver, _) = open(&fs, 1 << 20, 800);
    let refusal = (1..).find_map(|ticket| submit(&wal, &receiver, ticket).err()).unwrap();
    assert!(refusal.passing && refusal.reason.contains("reserve"), "{refusal:?}");
    assert!(fs.space(Path::new(DIR)).unwrap().free >= 700);
    assert!(wal.status().refusal.is_some());
    // Found out without a request to try it with.
    fs.set_capacity(Some(20_000));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while wal.status().refusal.is_some() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(wal.status().refusal, None);
    submit(&wal, &receiver, 1000).unwrap();
}

#[test]
fn a_failed_fsync_closes_the_log_until_the_next_start() {
    let fs = SimFs::new(3);
    let (wal, receiver, _) = open(&fs, 1 << 20, 0);
    submit(&wal, &receiver, 1).unwrap();
    // The write succeeds, the fsync after it fails.
    fs.fail_at(fs.operations() + 1, Fault::Broken);
    let refusal = submit(&wal, &receiver, 2).unwrap_err();
    assert!(!refusal.passing && refusal.reason.contains("restart"), "{refusal:?}");
    assert_eq!(submit(&wal, &receiver, 3).unwrap_err(), refusal);
    assert!(wal.status().poisoned);
    wal.stop();
    fs.power_loss();
    let (wal, receiver, replayed) = open(&fs, 1 << 20, 0);
    assert_eq!(replayed.report.frames, 1);
    submit(&wal, &receiver, 4).unwrap();
    wal.stop();
    assert_eq!(read_all(&fs).0.into_values().collect::<Vec<_>>(), [payload(1), payload(4)]);
}

#[test]
fn everything_that_waits_shares_an_fsync_and_keeps_its_order() {
    let fs = SimFs::new(3);
    let (wal, receiver, _) = open(&fs, 1 << 20, 0);
    for ticket in 1..=500 {
        wal.submit(submission(ticket)).unwrap();
    }
    wal.stop();
    let outcomes: Vec<Outcome> = receiver.iter().collect();
    assert_eq!(outcomes, (1..=500).map(|ticket| (ticket, Ok(ticket))).collect::<Vec<_>>());
    let status = wal.status();
    assert_eq!(status.frames, 500);
    assert!(status.groups < 250, "{status:?}");
    assert!(wal.submit(submission(501)).is_err(), "closed");
}

#[test]
fn a_closed_log_whose_frames_are_stored_elsewhere_leaves_no_file() {
    let (fs, names) = filled(300);
    assert!(names.len() > 2);
    let (wal, receiver, _) = open(&fs, 300, 0);
    let number = submit(&wal, &receiver, 11).unwrap();
    wal.close(number + 1).unwrap();
    assert_eq!(fs.list(Path::new(DIR)).unwrap(), []);
    assert_eq!(wal.status().files, 0);
}

#[test]
fn the_operating_systems_files_do_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let fs = DiskFs;
    let path = dir.path().join(format::file_name(1));
    let mut file = fs.create(&path).unwrap();
    assert!(fs.create(&path).is_err(), "a new file only");
    file.write_vectored(&[std::io::IoSlice::new(b"abc"), std::io::IoSlice::new(b"def")]).unwrap();
    file.sync().unwrap();
    fs.open(&path).unwrap().truncate(4).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut fs.read(&path).unwrap(), &mut text).unwrap();
    assert_eq!(text, "abcd");
    assert_eq!(fs.list(dir.path()).unwrap(), [LogEntry { name: format::file_name(1), bytes: 4 }]);
    let aside = dir.path().join("aside");
    fs.rename(&path, &aside).unwrap();
    fs.remove(&aside).unwrap();
    fs.sync_dir(dir.path()).unwrap();
    let space = fs.space(dir.path()).unwrap();
    assert!(space.free > 0 && space.free <= space.total);
}
