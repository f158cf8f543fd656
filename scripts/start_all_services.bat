@echo off
rem Starts DTMS and then the other services; see docs/howto/start-order.md. The script beside it does the work.
where py >nul 2>nul && (py -3 "%~dp0start_all_services.py" %*) || (python "%~dp0start_all_services.py" %*)
exit /b %errorlevel%
