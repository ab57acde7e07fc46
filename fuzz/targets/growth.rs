//! Any bytes beside an image are the log of a growth, or said to be none. One that carries right sums is carried out within the device, or
//! refused: never past its end, never without bounds.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use csictl::host::linux::crc32c::crc32c;
use csictl::host::linux::growth::finish;
use libfuzzer_sys::fuzz_target;

const MARK: &[u8; 16] = b"csictl growth 1\n";
const DEVICE: usize = 256 << 10;

static FOLDER: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("csictl-fuzz-growth-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the device");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let (device, log) = (FOLDER.join("device"), FOLDER.join("log"));
    for framed in [false, true] {
        let mut text = Vec::new();
        if framed {
            // With the sums right, what lies between them is read.
            text.extend_from_slice(MARK);
            text.extend_from_slice(&[0; 16]);
            text.extend_from_slice(bytes);
            text.extend_from_slice(&u64::MAX.to_le_bytes());
            let sum = crc32c(!0, &text);
            text.extend_from_slice(&sum.to_le_bytes());
            text.extend_from_slice(MARK);
        } else {
            text.extend_from_slice(bytes);
        }
        fs::write(&device, vec![0; DEVICE]).expect("a device");
        fs::write(&log, &text).expect("a log");
        let _ = finish(&device, &log);
        assert_eq!(fs::metadata(&device).expect("it is there").len(), DEVICE as u64, "it was cut or grown");
    }
});
