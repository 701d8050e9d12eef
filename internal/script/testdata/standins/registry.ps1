# Stands in for Microsoft.Win32.Registry, which only Windows has. A key is a folder below $env:PREFLIGHT_STANDINS/registry;
# its values are the lines of the file "values" in it: name, kind (sz or dword) and value, separated by tabs. Like the real
# thing it knows names without regard to case, gives null for a key that is not there, and throws SecurityException for
# one that may not be read: here, a folder with a file "denied" in it (.NET Framework, RegistryKey.OpenSubKey).
class StandInKey {
  [string]$Path
  StandInKey([string]$path) { $this.Path = $path }
  hidden [object[]] Rows() {
    $file = [IO.Path]::Combine($this.Path, 'values')
    if (-not [IO.File]::Exists($file)) { return @() }
    return @(foreach ($line in [IO.File]::ReadAllLines($file)) { if ($line) { , $line.Split([char]9) } })
  }
  [string[]] GetValueNames() { return @(foreach ($row in $this.Rows()) { $row[0] }) }
  [string[]] GetSubKeyNames() { return @(foreach ($folder in [IO.Directory]::GetDirectories($this.Path)) { [IO.Path]::GetFileName($folder) }) }
  [object] GetValue([string]$name) {
    foreach ($row in $this.Rows()) {
      if ($row[0] -ieq $name) { if ($row[1] -ceq 'dword') { return [int]$row[2] } return $row[2] }
    }
    return $null
  }
  [StandInKey] OpenSubKey([string]$name) {
    $at = $this.Path
    foreach ($part in $name.Split('\')) {
      $found = $null
      foreach ($folder in [IO.Directory]::GetDirectories($at)) { if ([IO.Path]::GetFileName($folder) -ieq $part) { $found = $folder } }
      if ($null -eq $found) { return $null }
      $at = $found
    }
    if ([IO.File]::Exists([IO.Path]::Combine($at, 'denied'))) { throw [Security.SecurityException]::new('Requested registry access is not allowed.') }
    return [StandInKey]::new($at)
  }
  [void] Close() { }
}
class StandInRegistry { static [StandInKey]$LocalMachine = [StandInKey]::new([IO.Path]::Combine($env:PREFLIGHT_STANDINS, 'registry')) }
[psobject].Assembly.GetType('System.Management.Automation.TypeAccelerators')::Add('Microsoft.Win32.Registry', [StandInRegistry])
