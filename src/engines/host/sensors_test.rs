//! Chips and zones as hosts have them, and as nobody expects them.

use std::os::unix::fs::symlink;

use super::*;

fn write(file: &Path, text: &[u8]) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// Two disks of one kind are told apart, whichever number they have this time.
#[test]
fn chips_of_one_kind_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let sys = folder.path().join("sys");
    for (chip, disk, celsius) in [("hwmon0", "nvme1", "41850\n"), ("hwmon1", "nvme0", "39\n")] {
        let device = sys.join("devices/pci0000:00/nvme").join(disk);
        fs::create_dir_all(&device).unwrap();
        let chip = sys.join("class/hwmon").join(chip);
        write(&chip.join("name"), b"nvme\n");
        write(&chip.join("temp1_input"), celsius.as_bytes());
        write(&chip.join("temp1_label"), b"Composite\n");
        symlink(&device, chip.join("device")).unwrap();
    }
    let found = read(&HostRoot::under(folder.path().to_owned()));
    let told: Vec<_> = found
        .iter()
        .map(|one| (&*one.chip, &*one.label, &*one.device, &*one.sensor))
        .collect();
    assert_eq!(
        told,
        [
            ("nvme", "Composite", "nvme_nvme1", "temp1"),
            ("nvme", "Composite", "nvme_nvme0", "temp1"),
        ]
    );
    assert_eq!((found[0].celsius, found[1].celsius), (41_850, 39));
}

#[test]
fn zones_are_told_where_there_are_no_chips() {
    let folder = tempfile::tempdir().unwrap();
    let zones = folder.path().join("sys/class/thermal");
    write(&zones.join("thermal_zone0/temp"), b"27800\n");
    write(&zones.join("thermal_zone0/type"), b"acpitz\n");
    write(&zones.join("thermal_zone1/type"), b"broken\n");
    write(&zones.join("cooling_device0/temp"), b"1\n");
    let expected = Temperature {
        chip: "acpitz".to_owned(),
        device: "thermal_zone0".to_owned(),
        celsius: 27_800,
        ..Temperature::default()
    };
    let found = read(&HostRoot::under(folder.path().to_owned()));
    assert_eq!(found, [expected]);
}

#[test]
fn a_chip_that_says_what_cannot_be_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let chip = folder.path().join("sys/class/hwmon/hwmon3");
    write(&chip.join("name"), b"\xffK10 Temp!\n");
    let huge = [b'9'; 300_000];
    let surprising = [
        &b""[..],
        b"-",
        b"--5",
        b"-274000",
        b"1000001",
        b"99999999999999999999",
        b"hot",
        b"\xff\xfe",
        &huge,
    ];
    for (index, text) in surprising.iter().enumerate() {
        write(&chip.join(format!("temp{index}_input")), text);
    }
    write(&chip.join("temp_input"), b"20000");
    write(&chip.join("temp99_input"), b"-273150");
    write(&chip.join("temp99_max"), b"none");
    fs::create_dir(chip.join("temp100_input")).unwrap();
    let found = read(&HostRoot::under(folder.path().to_owned()));
    let told: Vec<_> = found
        .iter()
        .map(|one| (&*one.sensor, one.celsius, one.high))
        .collect();
    assert_eq!(told, [("temp99", -273_150, None), ("temp", 20_000, None)]);
    // Bytes that are no letters do not come into the name of the device.
    assert_eq!(found[0].device, "k10_temp");
}
