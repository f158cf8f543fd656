# Starts DTMS and then the other services; see docs/howto/start-order.md. The script beside it does the work.
$script = Join-Path $PSScriptRoot "start_all_services.py"
if ($env:PYTHON) { & $env:PYTHON $script @args }
elseif (Get-Command py -ErrorAction SilentlyContinue) { & py -3 $script @args }
elseif (Get-Command python3 -ErrorAction SilentlyContinue) { & python3 $script @args }
else { & python $script @args }
exit $LASTEXITCODE
